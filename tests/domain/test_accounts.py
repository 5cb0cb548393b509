from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from domain import accounts, password_reset, tokens
from domain.accounts import normalize_email
from domain.errors import (
    AbilityMissing,
    ApiAccessMissing,
    BatchesMissing,
    EmailNotVerified,
    FieldProblem,
    InvalidFields,
    InvalidLink,
    SubscriptionLapsed,
    Unauthenticated,
    Unavailable,
    WrongCredentials,
)
from domain.records import Principal
from domain.services import Policy
from project_root import ROOT

if TYPE_CHECKING:
    from domain.database.unit_of_work import Database
    from domain.records import Account
    from domain.services import Services

_CURRENT = "subscription:current"
CLIENT = "192.0.2.1"
FORM = {
    "name": "Jane Smith",
    "email": "jane@example.com",
    "password": "Correct-Horse-9",
    "password_confirmation": "Correct-Horse-9",
}


def problems_of(services: Services, fields: dict[str, Any], *known: FieldProblem) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFields) as caught:
        accounts.register(services, fields, "tests", CLIENT, known)
    return [(problem.field, problem.rule) for problem in caught.value.problems]


def count(services: Services) -> int:
    with services.database.reading() as work:
        return work.accounts.count()


def by_id(services: Services, account_id: int) -> Account:
    with services.database.reading() as work:
        account = work.accounts.get(account_id)
    assert account is not None
    return account


@pytest.fixture
def registered(services: Services) -> Account:
    return accounts.register(services, FORM, "tests", CLIENT)[0]


@pytest.fixture
def signed(registered: Account, mailer: Any) -> str:
    """The last part of the link that verifies ``registered``."""
    return str(mailer.last_link.rpartition("/")[2])


# --- registering


def test_registering_makes_an_unverified_account_on_the_default_plan(services: Services, clock: Any) -> None:
    account, _token = accounts.register(services, FORM, "a laptop", CLIENT)
    assert account == by_id(services, account.id)
    assert (account.name, account.email, account.plan) == ("Jane Smith", "jane@example.com", "free")
    assert account.email_verified_at is None
    assert account.created_at == account.updated_at == clock.now()
    assert services.passwords.matches(FORM["password"], account.password_hash)


def test_a_new_account_gets_the_plan_that_the_operator_chose(make_services: Any) -> None:
    services = make_services(policy=Policy(default_plan="professional"))
    assert accounts.register(services, FORM, "tests", CLIENT)[0].plan == "professional"


def test_registering_gives_a_token_that_works_and_is_named_by_its_device(services: Services) -> None:
    account, plain = accounts.register(services, FORM, "a laptop", CLIENT)
    principal = tokens.authenticate(services.database, plain, services.clock.now())
    assert principal.account == account
    assert principal.token.name == "a laptop"
    assert principal.token.abilities == tokens.ALL_ABILITIES


def test_everything_wrong_with_a_registration_is_told_at_once(services: Services, mailer: Any) -> None:
    form = FORM | {"email": "no address", "password": "abc", "password_confirmation": "abd"}
    known = FieldProblem("name", "required")
    assert problems_of(services, form, known) == [
        ("name", "required"),
        ("email", "email"),
        ("password", "min_characters"),
        ("password", "mixed_case"),
        ("password", "number_in"),
        ("password", "confirmed"),
    ]
    assert count(services) == 0
    assert mailer.sent == []


# The contract's schema took out what was wrong in itself; the rest is examined all the same.
def test_fields_that_the_contract_refused_are_not_missed(services: Services, registered: Account) -> None:
    known = [FieldProblem(field, "required") for field in ("name", "password", "password_confirmation")]
    assert problems_of(services, {"email": registered.email}, *known) == [
        ("name", "required"),
        ("password", "required"),
        ("password_confirmation", "required"),
        ("email", "taken"),
    ]
    assert problems_of(services, {}, FieldProblem("email", "string")) == [("email", "string")]


def test_a_problem_known_before_refuses_a_registration_that_is_otherwise_right(services: Services) -> None:
    assert problems_of(services, FORM, FieldProblem("is_admin", "unknown")) == [("is_admin", "unknown")]
    assert count(services) == 0


@pytest.mark.parametrize("email", ["jane@example.com", "JANE@EXAMPLE.COM", "Jane@Example.Com"])
def test_an_address_is_taken_in_whatever_case(services: Services, registered: Account, email: str) -> None:
    assert problems_of(services, FORM | {"email": email}) == [("email", "taken")]


@pytest.mark.parametrize(
    "email",
    ["jane@bücher.example", "jane@BÜCHER.example", "JANE@XN--BCHER-KVA.EXAMPLE", "jane@bu\u0308cher.example"],
)
def test_an_address_is_taken_however_its_domain_is_written(services: Services, email: str) -> None:
    accounts.register(services, FORM | {"email": "jane@xn--bcher-kva.example"}, "tests", CLIENT)
    assert problems_of(services, FORM | {"email": email}) == [("email", "taken")]


# Both looked, and the address was free for both of them.
def test_of_many_who_register_one_address_at_once_one_gets_it(services: Services) -> None:
    start = Barrier(8)

    def register(number: int) -> str:
        start.wait()
        try:
            accounts.create(
                services,
                name=f"Jane {number}",
                email="jane@example.com",
                password_hash="-",
                plan="free",
                device_name="tests",
            )
        except InvalidFields as refused:
            return ", ".join(f"{problem.field} {problem.rule}" for problem in refused.problems)
        return "registered"

    with ThreadPoolExecutor(8) as threads:
        answers = sorted(threads.map(register, range(8)))
    assert answers == ["email taken"] * 7 + ["registered"]
    assert count(services) == 1


# The account is committed by then. An error would make its owner try again, only to hear «taken».
def test_an_account_is_there_even_if_its_mail_cannot_leave(
    make_services: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenMailer:
        def send(self, _mail: object) -> None:
            raise Unavailable("The disk is full.")

    services = make_services(mailer=BrokenMailer())
    account, plain = accounts.register(services, FORM, "tests", CLIENT)
    assert tokens.authenticate(services.database, plain, services.clock.now()).account == account
    assert "The disk is full." in caplog.text


# Or anybody could have us send his own words to anybody.
def test_nothing_but_the_address_comes_from_who_registers(services: Services, mailer: Any) -> None:
    words = "friend, your parcel waits at https://evil.example"
    account, _token = accounts.register(services, FORM | {"name": words}, "tests", CLIENT)
    accounts.request_verification(services, account.email, CLIENT)
    password_reset.request(services, account.email, CLIENT)

    assert [mail.to for mail in mailer.sent] == ["jane@example.com"] * 3
    assert all(mail.text.startswith("Hello,\n\n") for mail in mailer.sent)
    assert "evil" not in "".join(map(str, mailer.sent))


@pytest.mark.parametrize(
    "name", ["Jane\nSmith", "Jane\n", "\r", "\0", "a\x1bb", "\x7f", "\x85", "\u2028", "\u2029"]
)
def test_a_name_is_one_line(services: Services, name: str) -> None:
    assert problems_of(services, FORM | {"name": name}) == [("name", "characters")]


# But for a line break at the end, which Python's `$` overlooks.
def test_the_contract_says_which_characters_a_name_can_have(services: Services) -> None:
    contract = yaml.load((ROOT / "openapi.yaml").read_text("utf-8"), yaml.CSafeLoader)
    pattern = contract["components"]["schemas"]["Registration"]["properties"]["name"]["pattern"]
    refused = [
        letter for letter in map(chr, range(sys.maxunicode + 1)) if not re.search(pattern, letter + ".")
    ]

    assert len(refused) == 67
    assert all(list(accounts.name_problems(letter)) for letter in refused)
    assert not list(accounts.name_problems("".join(set(map(chr, range(sys.maxunicode + 1))) - set(refused))))


def test_one_client_registers_others_with_so_many_mails_and_no_more(services: Services, mailer: Any) -> None:
    for number in range(60):
        assert accounts.register(services, FORM | {"email": f"jane{number}@example.com"}, "tests", CLIENT)
    assert len(mailer.sent) == 50

    accounts.request_verification(services, "jane59@example.com", "198.51.100.7")
    assert mailer.sent[-1].to == "jane59@example.com"


# --- addresses


@pytest.mark.parametrize(
    ("email", "normal"),
    [
        ("jane@example.com", "jane@example.com"),
        ("JANE.Smith+Tag@Example.COM", "jane.smith+tag@example.com"),
        ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example"),
        ("JÜRGEN@bücher.example", "jürgen@xn--bcher-kva.example"),
        ("ju\u0308rgen@example.com", "jürgen@example.com"),
        ("jane@example\u3002com", "jane@example.com"),  # the dot of Japanese keyboards
    ],
)
def test_addresses_have_one_normal_form(email: str, normal: str) -> None:
    assert normalize_email(email) == normal
    assert normalize_email(normal) == normal


# They look alike and are two domains: one form for both would give one's account to the other.
def test_a_homograph_is_another_address() -> None:
    assert normalize_email("jane@ex\u0430mple.com") == "jane@xn--exmple-4nf.com"


@pytest.mark.parametrize(
    "email",
    [
        "",
        "@",
        "jane",
        "jane@",
        "@example.com",
        "jane@example",
        "jane@@example.com",
        "jane@example..com",
        ".jane@example.com",
        "jane @example.com",
        " jane@example.com",
        "jane@example.com\n",
        "jane@example.com\r\nBcc: all@example.com",
        "jane\0@example.com",
        "Jane <jane@example.com>",
        "jane@[127.0.0.1]",
        "jane@exa_mple.com",
        "jane@\u202eexample.com",
        "\ud800@example.com",
        "a" * 65 + "@" + "example." * 40 + "com",
    ],
)
def test_what_is_no_address_has_no_normal_form(email: str) -> None:
    assert normalize_email(email) is None


def test_without_an_address_there_is_none() -> None:
    assert normalize_email(None) is None


@given(st.text() | st.emails() | st.builds("{}@{}.example".format, st.text(), st.text()))
def test_the_normal_form_is_its_own(email: str) -> None:
    normal = normalize_email(email)
    assert normal is None or normalize_email(normal) == normal


# --- logging in and out


def test_whoever_knows_the_password_of_a_verified_account_gets_a_token(
    services: Services, make_account: Any, password: str
) -> None:
    account = make_account(email="jane@example.com")
    found, plain = accounts.log_in(services, "JANE@example.COM", password, "a phone", "192.0.2.1")
    principal = tokens.authenticate(services.database, plain, services.clock.now())
    assert principal.account == found == account
    assert principal.token.name == "a phone"


def test_every_login_has_a_token_of_its_own(services: Services, account: Account, password: str) -> None:
    first, second = (
        accounts.log_in(services, account.email, password, "tests", "192.0.2.1")[1] for _ in range(2)
    )
    now = services.clock.now()
    accounts.log_out(services, tokens.authenticate(services.database, first, now))
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, first, now)
    assert tokens.authenticate(services.database, second, now).account == account


def test_a_wrong_password_and_an_unknown_address_are_refused_alike(
    services: Services, account: Account, password: str
) -> None:
    refusals = []
    for email, tried in (
        (account.email, password + "x"),
        (account.email, ""),
        ("nobody@example.com", password),
        ("no address", password),
        ("", ""),
    ):
        with pytest.raises(WrongCredentials) as caught:
            accounts.log_in(services, email, tried, "tests", "192.0.2.1")
        refusals.append((type(caught.value), caught.value.args))
    assert len(set(refusals)) == 1


# The clock must not tell either: without an account, a hash is checked all the same.
@pytest.mark.parametrize("email", ["jane1@example.com", "nobody@example.com", "no address"])
def test_a_hash_is_checked_once_whoever_logs_in(make_services: Any, account: Account, email: str) -> None:
    checked: list[bool] = []

    class CountingPasswords:
        def matches(self, password: str, password_hash: str | None) -> bool:
            checked.append(password_hash is not None)
            return False

    with pytest.raises(WrongCredentials):
        accounts.log_in(make_services(passwords=CountingPasswords()), email, "wrong", "tests", "192.0.2.1")
    assert checked == [email == account.email]


def test_before_the_address_is_verified_only_the_right_password_learns_why(
    services: Services, make_account: Any, password: str
) -> None:
    account = make_account(verified=False)
    with pytest.raises(EmailNotVerified):
        accounts.log_in(services, account.email, password, "tests", "192.0.2.1")
    with pytest.raises(WrongCredentials):
        accounts.log_in(services, account.email, password + "x", "tests", "192.0.2.1")


# --- verifying


def test_the_mail_goes_to_the_address_with_a_link_to_our_origin(
    make_services: Any, mailer: Any, clock: Any
) -> None:
    services = make_services(policy=Policy(origin="https://pictures.example"))
    account, _token = accounts.register(services, FORM, "tests", CLIENT)
    (mail,) = mailer.sent
    assert mail.to == "jane@example.com"
    assert mailer.last_link.startswith(f"https://pictures.example/api/auth/verify-email/{account.id}/")
    assert "2026-11-23 12:30 UTC" in mail.text


def test_opening_the_link_verifies_the_address(
    services: Services, registered: Account, signed: str, clock: Any
) -> None:
    verified_at = clock.advance(timedelta(hours=2))
    accounts.verify_email(services, registered.id, signed)
    account = by_id(services, registered.id)
    assert account.email_verified_at == account.updated_at == verified_at
    assert accounts.log_in(services, FORM["email"], FORM["password"], "tests", "192.0.2.1")[0] == account


# Mail programs open links to look what is behind them, and people click twice.
def test_verifying_twice_changes_nothing(
    services: Services, registered: Account, signed: str, clock: Any
) -> None:
    accounts.verify_email(services, registered.id, signed)
    once = by_id(services, registered.id)
    clock.advance(timedelta(hours=1))
    accounts.verify_email(services, registered.id, signed)
    assert by_id(services, registered.id) == once


def test_the_link_is_good_for_its_whole_life_and_not_longer(
    services: Services, registered: Account, signed: str, clock: Any
) -> None:
    clock.advance(services.policy.verification_link_lifetime + timedelta(seconds=1))
    with pytest.raises(InvalidLink):
        accounts.verify_email(services, registered.id, signed)
    assert by_id(services, registered.id).email_verified_at is None
    clock.advance(timedelta(seconds=-2))
    accounts.verify_email(services, registered.id, signed)
    assert by_id(services, registered.id).email_verified_at is not None


def test_a_link_with_any_character_changed_is_refused(
    services: Services, registered: Account, signed: str
) -> None:
    for position, letter in enumerate(signed):
        changed = signed[:position] + ("A" if letter != "A" else "B") + signed[position + 1 :]
        with pytest.raises(InvalidLink):
            accounts.verify_email(services, registered.id, changed)
    assert by_id(services, registered.id).email_verified_at is None


@pytest.mark.parametrize("account_id", [0, 2, 4711, 2**53 - 1])
def test_a_link_verifies_nobody_else(
    services: Services, registered: Account, signed: str, account_id: int
) -> None:
    with pytest.raises(InvalidLink):
        accounts.verify_email(services, account_id, signed)


def test_a_link_to_an_address_that_was_changed_is_refused(
    services: Services, registered: Account, mailer: Any
) -> None:
    accounts.send_verification(services, replace(registered, email="earlier@example.com"))
    with pytest.raises(InvalidLink):
        accounts.verify_email(services, registered.id, mailer.last_link.rpartition("/")[2])


def test_a_download_link_verifies_nobody(services: Services, registered: Account, clock: Any) -> None:
    url = services.store.signed_url("results/x.png", "x.png", clock.now() + timedelta(hours=1))
    with pytest.raises(InvalidLink):
        accounts.verify_email(services, registered.id, url.rpartition("/")[2])


# --- what an account may do


@pytest.mark.parametrize(
    ("plan", "verified", "expected"),
    [
        ("free", False, [_CURRENT]),
        ("free", True, ["account:verified", _CURRENT]),
        ("starter", True, ["account:verified", _CURRENT, "plan:api_access", "plan:priority_support"]),
        ("starter", False, [_CURRENT, "plan:api_access", "plan:priority_support"]),
        (
            "professional",
            True,
            ["account:verified", _CURRENT, "plan:api_access", "plan:batches", "plan:priority_support"],
        ),
    ],
)
def test_standing_is_abilities_verification_and_the_plans_features(
    services: Services, make_account: Any, database: Database, plan: str, verified: bool, expected: list[str]
) -> None:
    account = make_account(plan, verified=verified)
    with database.reading() as work:
        found = work.tokens.with_account(1)
    assert found is not None
    principal = Principal(account, replace(found[0], abilities=("images:read",)))
    assert accounts.granted_scopes(services, principal) == ["images:read", *expected]


# In the contract's order: whoever lacks two things hears of the first.
@pytest.mark.parametrize(
    ("given", "denial_for"),
    [
        ([], AbilityMissing),
        (["account:verified", _CURRENT, "plan:api_access", "plan:batches"], AbilityMissing),
        (["images:read"], EmailNotVerified),
        (["images:read", _CURRENT, "plan:api_access", "plan:batches"], EmailNotVerified),
        (["images:read", "account:verified"], SubscriptionLapsed),
        (["images:read", "account:verified", "plan:api_access", "plan:batches"], SubscriptionLapsed),
        (["images:read", "account:verified", _CURRENT], ApiAccessMissing),
        (["images:read", "account:verified", _CURRENT, "plan:batches"], ApiAccessMissing),
        (["images:read", "account:verified", _CURRENT, "plan:api_access"], BatchesMissing),
    ],
)
def test_the_first_thing_that_is_missing_decides_what_is_said(
    given: list[str], denial_for: type[Exception]
) -> None:
    required = ["images:read", "account:verified", _CURRENT, "plan:api_access", "plan:batches"]
    assert type(accounts.denial_for(required, given)) is denial_for
