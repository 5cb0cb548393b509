from __future__ import annotations

import hashlib
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select

from domain import accounts, tokens
from domain.database import tables
from domain.errors import FieldProblem, InvalidFields, NotFound, Unauthenticated, Unavailable
from domain.records import Principal
from uprez.adapters.system import SystemRandomSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from domain.database.unit_of_work import Database
    from domain.records import Account
    from domain.services import Services

pytestmark = pytest.mark.both_databases


@pytest.fixture
def issue(services: Services, account: Account) -> Callable[..., str]:
    """A new token of ``account``, as the client gets it."""

    def issue(name: str = "a laptop", abilities: Sequence[str] = tokens.ALL_ABILITIES) -> str:
        with services.database.writing() as work:
            plain = tokens.issue(work, services.random_source, account, name, services.clock.now(), abilities)
            work.commit()
        return plain

    return issue


def last_used(database: Database, plain: str) -> datetime | None:
    with database.reading() as work:
        found = work.tokens.with_account(int(plain.partition("|")[0]))
    assert found is not None
    return found[0].last_used_at


def with_checksum(secret: str) -> str:
    return f"{secret}{zlib.crc32(secret.encode()):08x}"


# --- form


def test_a_token_is_its_id_forty_random_characters_and_their_checksum(issue: Any) -> None:
    match = re.fullmatch(r"([1-9][0-9]*)\|([A-Za-z0-9]{40})([0-9a-f]{8})", issue())
    assert match is not None
    assert match[3] == f"{zlib.crc32(match[2].encode()):08x}"


# Also when the checksum is a small number: its eight digits keep their leading zeros.
def test_the_checksum_always_has_eight_digits() -> None:
    secrets = (f"{number:040d}" for number in range(100_000))
    small = next(secret for secret in secrets if zlib.crc32(secret.encode()) < 0x01000000)
    assert tokens._checksum(small).startswith("00")
    assert tokens._parse(f"7|{with_checksum(small)}") == (7, small)


def test_tokens_are_made_of_the_operating_systems_dice() -> None:
    token = SystemRandomSource().token
    assert len(token(40)) == 40
    assert token(40) != token(40)
    assert re.fullmatch("[A-Za-z0-9]*", token(500))


# A backup of the database that falls into wrong hands is to open nothing.
def test_the_database_holds_only_the_digest_of_the_secret(issue: Any, database: Database) -> None:
    secret = issue().partition("|")[2][:40]
    with database.engine.connect() as connection:
        rows = connection.execute(select(tables.tokens)).mappings().all()
    newest = max(rows, key=lambda row: row["id"])
    assert newest["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert not any(secret[:8] in str(value) for row in rows for value in row.values())


def test_a_long_name_is_cut_to_what_the_table_holds(issue: Any, services: Services) -> None:
    principal = tokens.authenticate(services.database, issue("x" * 300), services.clock.now())
    assert principal.token.name == "x" * 255


# --- authenticating


def test_a_token_tells_whose_it_is_and_what_it_may(issue: Any, services: Services, account: Account) -> None:
    plain = issue("a laptop", ["images:read", "user:read"])
    principal = tokens.authenticate(services.database, plain, services.clock.now())
    assert principal.account == account
    assert principal.token.name == "a laptop"
    assert principal.token.abilities == ("images:read", "user:read")
    assert principal.token.created_at == services.clock.now()


def test_a_token_has_all_four_abilities_unless_it_is_given_fewer(issue: Any, services: Services) -> None:
    principal = tokens.authenticate(services.database, issue(), services.clock.now())
    assert principal.token.abilities == ("images:read", "images:write", "images:delete", "user:read")


def test_a_revoked_token_is_refused_at_once(issue: Any, services: Services) -> None:
    plain, other = issue(), issue()
    now = services.clock.now()
    accounts.log_out(services, tokens.authenticate(services.database, plain, now))
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, plain, now)
    assert tokens.authenticate(services.database, other, now)


# As on another API process, which has no cache that would have to hear of it.
def test_a_revoked_token_is_refused_at_once_on_every_process(
    issue: Any, services: Services, reopen_database: Callable[[], Database]
) -> None:
    plain, elsewhere, now = issue(), reopen_database(), services.clock.now()
    principal = tokens.authenticate(elsewhere, plain, now)
    accounts.log_out(services, principal)
    with pytest.raises(Unauthenticated):
        tokens.authenticate(elsewhere, plain, now)


def test_revoking_all_ends_every_token_of_the_account_and_nobody_elses(
    issue: Any,
    services: Services,
    account: Account,
    make_account: Any,
    reopen_database: Callable[[], Database],
) -> None:
    mine, now, elsewhere = (
        [issue(), issue(abilities=["images:read"])],
        services.clock.now(),
        reopen_database(),
    )
    other = make_account()
    with services.database.writing() as work:
        others = tokens.issue(work, services.random_source, other, "a phone", now)
        work.commit()
    accounts.revoke_all(services, account)
    for plain in mine:
        for database in (services.database, elsewhere):
            with pytest.raises(Unauthenticated):
                tokens.authenticate(database, plain, now)
    assert tokens.authenticate(elsewhere, others, now).account == other


def test_revoking_all_twice_is_no_error(services: Services, account: Account) -> None:
    accounts.revoke_all(services, account)
    accounts.revoke_all(services, account)

    with services.database.reading() as work:
        assert work.tokens.of_account(account.id) == []


# Otherwise an old token could come to belong to whoever registers next.
def test_the_id_of_a_revoked_token_is_not_given_out_again(issue: Any, services: Services) -> None:
    plain = issue()
    accounts.log_out(services, tokens.authenticate(services.database, plain, services.clock.now()))
    assert int(issue().partition("|")[0]) > int(plain.partition("|")[0])


def test_another_tokens_secret_opens_nothing(issue: Any, services: Services) -> None:
    first, second = issue(), issue()
    mixed = f"{first.partition('|')[0]}|{second.partition('|')[2]}"
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, mixed, services.clock.now())


def test_every_single_changed_character_makes_it_another_token(issue: Any, services: Services) -> None:
    plain = issue()
    for position, letter in enumerate(plain):
        for other in ("0", "1", "a", "Z", "|"):
            if other == letter:
                continue
            changed = plain[:position] + other + plain[position + 1 :]
            with pytest.raises(Unauthenticated):
                tokens.authenticate(services.database, changed, services.clock.now())


def test_a_wrong_secret_with_a_right_checksum_is_refused(issue: Any, services: Services) -> None:
    token_id = issue().partition("|")[0]
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, f"{token_id}|{with_checksum('a' * 40)}", services.clock.now())


SECRET = with_checksum("aB3" * 13 + "x")


@pytest.mark.parametrize(
    "plain",
    [
        "",
        "|",
        SECRET,  # no id
        f"|{SECRET}",
        f"0|{SECRET}",
        f"-1|{SECRET}",
        f"01|{SECRET}",
        f" 1|{SECRET}",
        f"1 |{SECRET}",
        f"1|{SECRET} ",
        f"1|{SECRET}\n",
        f"+1|{SECRET}",
        f"1_0|{SECRET}",
        f"1.0|{SECRET}",
        f"١|{SECRET}",  # a digit, for Unicode
        f"1||{SECRET}",
        f"1|{SECRET}|",
        f"1|{SECRET[:-1]}",
        f"1|{SECRET}0",
        f"1|{SECRET[:-8]}{SECRET[-8:].upper()}",
        f"1|{SECRET[:40]}00000000",
        f"1|{'ä' * 40}{zlib.crc32(('ä' * 40).encode()):08x}",
        "1|" + "\ud800" * 48,
        "1|" + "a" * 100_000,
        "9" * 100_000,
    ],
)
def test_what_is_not_in_the_form_of_a_token_is_none(plain: str, services: Services) -> None:
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, plain, services.clock.now())


# Bounded by its form, so that no number reaches the database that it cannot hold.
@pytest.mark.parametrize("digits", [18, 19, 20, 40, 5000])
def test_a_huge_id_is_merely_unknown(digits: int, services: Services) -> None:
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, f"{'9' * digits}|{SECRET}", services.clock.now())


# Whoever guesses at random costs us no query.
def test_a_mistyped_token_is_refused_without_asking_the_database(services: Services, issue: Any) -> None:
    plain = issue()
    nowhere: Any = None
    with pytest.raises(Unauthenticated):
        tokens.authenticate(nowhere, plain[:-1] + ("0" if plain[-1] != "0" else "1"), services.clock.now())


@example("\ud800")
@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_no_text_makes_it_fail_in_another_way(plain: str) -> None:
    nowhere: Any = None
    with pytest.raises(Unauthenticated):
        tokens.authenticate(nowhere, plain, nowhere)


# --- creating, listing, revoking


@pytest.fixture
def principal(issue: Any, services: Services) -> Principal:
    return tokens.authenticate(services.database, issue(), services.clock.now())


def test_a_created_token_is_the_accounts_and_works(services: Services, principal: Principal) -> None:
    issued = tokens.create(services, principal, {"name": "a wall", "abilities": ["user:read", "images:read"]})
    found = tokens.authenticate(services.database, issued.plain, services.clock.now())
    assert found.account == principal.account
    assert found.token.id == issued.token.id
    assert (found.token.name, found.token.abilities) == ("a wall", ("images:read", "user:read"))


@pytest.mark.parametrize("held", [["user:read"], ["images:write", "user:read"], list(tokens.ALL_ABILITIES)])
def test_a_token_grants_what_it_has_and_nothing_else(issue: Any, services: Services, held: list[str]) -> None:
    principal = tokens.authenticate(services.database, issue(abilities=held), services.clock.now())
    assert tokens.create(services, principal, {"name": "x"}).token.abilities == tuple(held)
    for ability in tokens.ALL_ABILITIES:
        fields = {"name": "x", "abilities": [ability]}
        if ability in held:
            assert tokens.create(services, principal, fields).token.abilities == (ability,)
        else:
            with pytest.raises(InvalidFields) as caught:
                tokens.create(services, principal, fields)
            assert [(each.field, each.rule) for each in caught.value.problems] == [("abilities", "among_own")]


def test_problems_found_before_are_raised_with_ours(issue: Any, services: Services) -> None:
    principal = tokens.authenticate(services.database, issue(abilities=["user:read"]), services.clock.now())
    known = [FieldProblem("name", "required")]
    for fields, count in [({"abilities": ["images:read"]}, 2), ({}, 1)]:
        with pytest.raises(InvalidFields) as caught:
            tokens.create(services, principal, fields, known)
        assert len(caught.value.problems) == count
    assert principal.token.id == max(token.id for token in tokens.of_account(services, principal.account))


# A thief's request that is on its way must not outlive the moment in which the owner ends all tokens.
def test_a_token_that_was_revoked_meanwhile_creates_nothing(
    services: Services, account: Account, principal: Principal
) -> None:
    accounts.revoke_all(services, account)
    with pytest.raises(Unauthenticated):
        tokens.create(services, principal, {"name": "x"})
    assert tokens.of_account(services, account) == []


# It has looked whether its own token is still there, and is about to give out another.
@pytest.mark.parametrize(
    "end", [accounts.log_out, lambda services, it: accounts.revoke_all(services, it.account)]
)
def test_whoever_ends_tokens_waits_for_one_that_is_given_out(
    services: Services, principal: Principal, end: Any
) -> None:
    with ThreadPoolExecutor(1) as thread:
        with services.database.writing() as work:
            work.accounts.lock(principal.account.id)
            ended = thread.submit(end, services, principal)
            with pytest.raises(TimeoutError):
                ended.result(0.2)
            work.commit()
        ended.result(10)


def test_tokens_are_listed_newest_first_and_of_one_account_only(
    issue: Any, services: Services, account: Account, make_account: Any, clock: Any
) -> None:
    first, second = issue("first"), issue("second")
    clock.advance(timedelta(seconds=1))
    issue("third")
    clock.advance(timedelta(seconds=-2))
    issue("before all")
    make_account()
    listed = tokens.of_account(services, account)
    names = [token.name for token in listed]
    assert [name for name in names if name != "tests"] == ["third", "second", "first", "before all"]
    assert int(first.partition("|")[0]) < int(second.partition("|")[0])


def test_revoking_one_token_leaves_the_others(
    issue: Any, services: Services, account: Account, reopen_database: Callable[[], Database]
) -> None:
    lost, kept, elsewhere, now = issue(), issue(), reopen_database(), services.clock.now()
    tokens.revoke(services, account, int(lost.partition("|")[0]))
    for database in (services.database, elsewhere):
        with pytest.raises(Unauthenticated):
            tokens.authenticate(database, lost, now)
        assert tokens.authenticate(database, kept, now)


def test_only_ones_own_token_can_be_revoked_and_only_once(
    issue: Any, services: Services, account: Account, make_account: Any
) -> None:
    plain, other = issue(), make_account()
    token_id = int(plain.partition("|")[0])
    with pytest.raises(NotFound):
        tokens.revoke(services, other, token_id)
    assert tokens.authenticate(services.database, plain, services.clock.now())
    tokens.revoke(services, account, token_id)
    for _ in range(2):
        with pytest.raises(NotFound):
            tokens.revoke(services, account, token_id)


# --- when it was last used


def test_the_first_use_is_noted(issue: Any, services: Services, clock: Any) -> None:
    plain = issue()
    assert last_used(services.database, plain) is None
    used_at = clock.advance(timedelta(seconds=1))
    tokens.authenticate(services.database, plain, used_at)
    assert last_used(services.database, plain) == used_at


# A client that polls every second is to read, not to write.
def test_use_is_noted_once_a_minute(issue: Any, services: Services, clock: Any) -> None:
    plain, noted = issue(), []
    for _ in range(121):
        tokens.authenticate(services.database, plain, clock.now())
        noted.append(last_used(services.database, plain))
        clock.advance(timedelta(seconds=1))
    assert [noted.count(each) for each in sorted(set(noted) - {None})] == [60, 60, 1]


def test_a_refused_token_is_not_noted_as_used(issue: Any, services: Services, clock: Any) -> None:
    plain = issue()
    wrong = f"{plain.partition('|')[0]}|{with_checksum('a' * 40)}"
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, wrong, clock.now())
    assert last_used(services.database, plain) is None


# Somebody reads while the database is busy with somebody else's writing.
def test_a_use_that_cannot_be_noted_is_no_reason_to_refuse(
    issue: Any, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = issue()

    def busy(**_options: object) -> Any:
        raise Unavailable

    monkeypatch.setattr(services.database, "writing", busy)
    assert tokens.authenticate(services.database, plain, services.clock.now()).token.name == "a laptop"
