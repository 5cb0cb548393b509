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
    """Provide a function that creates a token of ``account`` and returns its plain text."""

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


def test_token_has_id_40_random_characters_and_checksum(issue: Any) -> None:
    match = re.fullmatch(r"([1-9][0-9]*)\|([A-Za-z0-9]{40})([0-9a-f]{8})", issue())
    assert match is not None
    assert match[3] == f"{zlib.crc32(match[2].encode()):08x}"


# A small checksum keeps its leading zeros.
def test_checksum_always_has_eight_digits() -> None:
    secrets = (f"{number:040d}" for number in range(100_000))
    small = next(secret for secret in secrets if zlib.crc32(secret.encode()) < 0x01000000)
    assert tokens._checksum(small).startswith("00")
    assert tokens._parse(f"7|{with_checksum(small)}") == (7, small)


def test_system_random_source_returns_letters_and_digits() -> None:
    token = SystemRandomSource().token
    assert len(token(40)) == 40
    assert token(40) != token(40)
    assert re.fullmatch("[A-Za-z0-9]*", token(500))


# A stolen backup of the database must not contain usable tokens.
def test_database_stores_only_the_digest_of_the_secret(issue: Any, database: Database) -> None:
    secret = issue().partition("|")[2][:40]
    with database.engine.connect() as connection:
        rows = connection.execute(select(tables.tokens)).mappings().all()
    newest = max(rows, key=lambda row: row["id"])
    assert newest["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert not any(secret[:8] in str(value) for row in rows for value in row.values())


def test_long_name_is_cut_to_255_characters(issue: Any, services: Services) -> None:
    principal = tokens.authenticate(services.database, issue("x" * 300), services.clock.now())
    assert principal.token.name == "x" * 255


# --- authenticate


def test_token_identifies_its_account_and_abilities(issue: Any, services: Services, account: Account) -> None:
    plain = issue("a laptop", ["images:read", "user:read"])
    principal = tokens.authenticate(services.database, plain, services.clock.now())
    assert principal.account == account
    assert principal.token.name == "a laptop"
    assert principal.token.abilities == ("images:read", "user:read")
    assert principal.token.created_at == services.clock.now()


def test_token_has_all_abilities_by_default(issue: Any, services: Services) -> None:
    principal = tokens.authenticate(services.database, issue(), services.clock.now())
    assert principal.token.abilities == ("images:read", "images:write", "images:delete", "user:read")


def test_revoked_token_is_refused_immediately(issue: Any, services: Services) -> None:
    plain, other = issue(), issue()
    now = services.clock.now()
    accounts.log_out(services, tokens.authenticate(services.database, plain, now))
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, plain, now)
    assert tokens.authenticate(services.database, other, now)


# The second Database stands for another API process: tokens are not cached.
def test_revoked_token_is_refused_by_all_processes(
    issue: Any, services: Services, reopen_database: Callable[[], Database]
) -> None:
    plain, elsewhere, now = issue(), reopen_database(), services.clock.now()
    principal = tokens.authenticate(elsewhere, plain, now)
    accounts.log_out(services, principal)
    with pytest.raises(Unauthenticated):
        tokens.authenticate(elsewhere, plain, now)


def test_revoke_all_deletes_all_tokens_of_one_account(
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


def test_revoke_all_twice_is_no_error(services: Services, account: Account) -> None:
    accounts.revoke_all(services, account)
    accounts.revoke_all(services, account)

    with services.database.reading() as work:
        assert work.tokens.list_for_account(account.id) == []


# Otherwise an old token could belong to the next account.
def test_id_of_a_revoked_token_is_not_reused(issue: Any, services: Services) -> None:
    plain = issue()
    accounts.log_out(services, tokens.authenticate(services.database, plain, services.clock.now()))
    assert int(issue().partition("|")[0]) > int(plain.partition("|")[0])


def test_id_with_another_tokens_secret_is_refused(issue: Any, services: Services) -> None:
    first, second = issue(), issue()
    mixed = f"{first.partition('|')[0]}|{second.partition('|')[2]}"
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, mixed, services.clock.now())


def test_token_with_any_changed_character_is_refused(issue: Any, services: Services) -> None:
    plain = issue()
    for position, letter in enumerate(plain):
        for other in ("0", "1", "a", "Z", "|"):
            if other == letter:
                continue
            changed = plain[:position] + other + plain[position + 1 :]
            with pytest.raises(Unauthenticated):
                tokens.authenticate(services.database, changed, services.clock.now())


def test_wrong_secret_with_valid_checksum_is_refused(issue: Any, services: Services) -> None:
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
        f"١|{SECRET}",  # a digit in Unicode
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
def test_malformed_token_is_refused(plain: str, services: Services) -> None:
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, plain, services.clock.now())


# The number of digits is bounded, so that no id is too large for the database.
@pytest.mark.parametrize("digits", [18, 19, 20, 40, 5000])
def test_huge_id_is_refused(digits: int, services: Services) -> None:
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, f"{'9' * digits}|{SECRET}", services.clock.now())


# Random guesses must not cause database queries.
def test_wrong_checksum_is_refused_without_a_query(services: Services, issue: Any) -> None:
    plain = issue()
    no_database: Any = None
    with pytest.raises(Unauthenticated):
        tokens.authenticate(
            no_database, plain[:-1] + ("0" if plain[-1] != "0" else "1"), services.clock.now()
        )


@example("\ud800")
@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_any_other_text_is_refused(plain: str) -> None:
    no_database: Any = None
    with pytest.raises(Unauthenticated):
        tokens.authenticate(no_database, plain, no_database)


# --- create, list and revoke


@pytest.fixture
def principal(issue: Any, services: Services) -> Principal:
    return tokens.authenticate(services.database, issue(), services.clock.now())


def test_created_token_authenticates_its_account(services: Services, principal: Principal) -> None:
    issued = tokens.create(services, principal, {"name": "a wall", "abilities": ["user:read", "images:read"]})
    found = tokens.authenticate(services.database, issued.plain, services.clock.now())
    assert found.account == principal.account
    assert found.token.id == issued.token.id
    assert (found.token.name, found.token.abilities) == ("a wall", ("images:read", "user:read"))


@pytest.mark.parametrize(
    "granted", [["user:read"], ["images:write", "user:read"], list(tokens.ALL_ABILITIES)]
)
def test_token_grants_only_its_own_abilities(issue: Any, services: Services, granted: list[str]) -> None:
    principal = tokens.authenticate(services.database, issue(abilities=granted), services.clock.now())
    assert tokens.create(services, principal, {"name": "x"}).token.abilities == tuple(granted)
    for ability in tokens.ALL_ABILITIES:
        fields = {"name": "x", "abilities": [ability]}
        if ability in granted:
            assert tokens.create(services, principal, fields).token.abilities == (ability,)
        else:
            with pytest.raises(InvalidFields) as caught:
                tokens.create(services, principal, fields)
            assert [(each.field, each.rule) for each in caught.value.problems] == [
                ("abilities", "held_by_token")
            ]


def test_schema_problems_are_reported_with_the_others(issue: Any, services: Services) -> None:
    principal = tokens.authenticate(services.database, issue(abilities=["user:read"]), services.clock.now())
    schema_problems = [FieldProblem("name", "required")]
    for fields, count in [({"abilities": ["images:read"]}, 2), ({}, 1)]:
        with pytest.raises(InvalidFields) as caught:
            tokens.create(services, principal, fields, schema_problems)
        assert len(caught.value.problems) == count
    assert principal.token.id == max(
        token.id for token in tokens.list_for_account(services, principal.account)
    )


# A concurrent request with a stolen token must not create another one while the owner revokes all.
def test_revoked_token_creates_no_other(services: Services, account: Account, principal: Principal) -> None:
    accounts.revoke_all(services, account)
    with pytest.raises(Unauthenticated):
        tokens.create(services, principal, {"name": "x"})
    assert tokens.list_for_account(services, account) == []


# The lock stands for a request that has checked its own token and is about to create another.
@pytest.mark.parametrize(
    "revoke", [accounts.log_out, lambda services, principal: accounts.revoke_all(services, principal.account)]
)
def test_revocation_waits_for_a_token_being_created(
    services: Services, principal: Principal, revoke: Any
) -> None:
    with ThreadPoolExecutor(1) as thread:
        with services.database.writing() as work:
            work.accounts.lock(principal.account.id)
            revocation = thread.submit(revoke, services, principal)
            with pytest.raises(TimeoutError):
                revocation.result(0.2)
            work.commit()
        revocation.result(10)


def test_list_has_the_accounts_tokens_newest_first(
    issue: Any, services: Services, account: Account, make_account: Any, clock: Any
) -> None:
    first, second = issue("first"), issue("second")
    clock.advance(timedelta(seconds=1))
    issue("third")
    clock.advance(timedelta(seconds=-2))
    issue("before all")
    make_account()
    listed = tokens.list_for_account(services, account)
    names = [token.name for token in listed]
    assert [name for name in names if name != "tests"] == ["third", "second", "first", "before all"]
    assert int(first.partition("|")[0]) < int(second.partition("|")[0])


def test_revoke_keeps_the_other_tokens(
    issue: Any, services: Services, account: Account, reopen_database: Callable[[], Database]
) -> None:
    revoked, kept, elsewhere, now = issue(), issue(), reopen_database(), services.clock.now()
    tokens.revoke(services, account, int(revoked.partition("|")[0]))
    for database in (services.database, elsewhere):
        with pytest.raises(Unauthenticated):
            tokens.authenticate(database, revoked, now)
        assert tokens.authenticate(database, kept, now)


def test_only_an_own_token_can_be_revoked_and_once(
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


# --- time of last use


def test_first_use_is_stored(issue: Any, services: Services, clock: Any) -> None:
    plain = issue()
    assert last_used(services.database, plain) is None
    used_at = clock.advance(timedelta(seconds=1))
    tokens.authenticate(services.database, plain, used_at)
    assert last_used(services.database, plain) == used_at


# A client that polls every second must not cause a write for each request.
def test_use_is_stored_once_a_minute(issue: Any, services: Services, clock: Any) -> None:
    plain, uses = issue(), []
    for _ in range(121):
        tokens.authenticate(services.database, plain, clock.now())
        uses.append(last_used(services.database, plain))
        clock.advance(timedelta(seconds=1))
    assert [uses.count(each) for each in sorted(set(uses) - {None})] == [60, 60, 1]


def test_use_of_a_refused_token_is_not_stored(issue: Any, services: Services, clock: Any) -> None:
    plain = issue()
    wrong = f"{plain.partition('|')[0]}|{with_checksum('a' * 40)}"
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, wrong, clock.now())
    assert last_used(services.database, plain) is None


# The database is busy with another writer, and the request only reads.
def test_token_is_accepted_if_its_use_cannot_be_stored(
    issue: Any, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = issue()

    def busy(**_options: object) -> Any:
        raise Unavailable

    monkeypatch.setattr(services.database, "writing", busy)
    assert tokens.authenticate(services.database, plain, services.clock.now()).token.name == "a laptop"
