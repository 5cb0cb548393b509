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

from domain import accounts, password_reset, tokens
from domain.errors import (
    EmailNotVerified,
    FieldProblem,
    InvalidFields,
    InvalidLink,
    NotFound,
    Unauthenticated,
    Unavailable,
    WrongCredentials,
)
from domain.services import Policy
from project_root import ROOT

if TYPE_CHECKING:
    from domain.records import Account
    from domain.services import Services

CLIENT = "192.0.2.1"
FORM = {
    "name": "Jane Smith",
    "email": "jane@example.com",
    "password": "Correct-Horse-9",
    "password_confirmation": "Correct-Horse-9",
}


def problems_of(
    services: Services, fields: dict[str, Any], *schema_problems: FieldProblem
) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFields) as caught:
        accounts.register(services, fields, "tests", CLIENT, schema_problems)
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
    """Return the last part of the link that verifies ``registered``."""
    return str(mailer.last_link.rpartition("/")[2])


# --- registration


def test_register_creates_unverified_account_on_default_plan(services: Services, clock: Any) -> None:
    account, _token = accounts.register(services, FORM, "a laptop", CLIENT)
    assert account == by_id(services, account.id)
    assert (account.name, account.email, account.plan) == ("Jane Smith", "jane@example.com", "free")
    assert account.email_verified_at is None
    assert account.created_at == account.updated_at == clock.now()
    assert services.passwords.matches(FORM["password"], account.password_hash)


def test_register_uses_the_configured_default_plan(make_services: Any) -> None:
    services = make_services(policy=Policy(default_plan="professional"))
    assert accounts.register(services, FORM, "tests", CLIENT)[0].plan == "professional"


def test_register_returns_a_token_with_the_device_name(services: Services) -> None:
    account, plain = accounts.register(services, FORM, "a laptop", CLIENT)
    principal = tokens.authenticate(services.database, plain, services.clock.now())
    assert principal.account == account
    assert principal.token.name == "a laptop"
    assert principal.token.abilities == tokens.ALL_ABILITIES


def test_register_reports_all_problems_together(services: Services, mailer: Any) -> None:
    form = FORM | {"email": "no address", "password": "abc", "password_confirmation": "abd"}
    missing = FieldProblem("name", "required")
    assert problems_of(services, form, missing) == [
        ("name", "required"),
        ("email", "email"),
        ("password", "min_characters"),
        ("password", "mixed_case"),
        ("password", "digit"),
        ("password", "confirmed"),
    ]
    assert count(services) == 0
    assert mailer.sent == []


# The schema removed the invalid fields; the other fields are still validated.
def test_valid_fields_are_checked_beside_schema_problems(services: Services, registered: Account) -> None:
    missing = [FieldProblem(field, "required") for field in ("name", "password", "password_confirmation")]
    assert problems_of(services, {"email": registered.email}, *missing) == [
        ("name", "required"),
        ("password", "required"),
        ("password_confirmation", "required"),
        ("email", "taken"),
    ]
    assert problems_of(services, {}, FieldProblem("email", "string")) == [("email", "string")]


def test_schema_problem_alone_refuses_a_registration(services: Services) -> None:
    assert problems_of(services, FORM, FieldProblem("is_admin", "unknown")) == [("is_admin", "unknown")]
    assert count(services) == 0


@pytest.mark.parametrize("email", ["jane@example.com", "JANE@EXAMPLE.COM", "Jane@Example.Com"])
def test_address_is_taken_in_any_case(services: Services, registered: Account, email: str) -> None:
    assert problems_of(services, FORM | {"email": email}) == [("email", "taken")]


@pytest.mark.parametrize(
    "email",
    ["jane@bücher.example", "jane@BÜCHER.example", "JANE@XN--BCHER-KVA.EXAMPLE", "jane@bu\u0308cher.example"],
)
def test_address_is_taken_in_any_spelling_of_its_domain(services: Services, email: str) -> None:
    accounts.register(services, FORM | {"email": "jane@xn--bcher-kva.example"}, "tests", CLIENT)
    assert problems_of(services, FORM | {"email": email}) == [("email", "taken")]


# Every request can find the address free before the first of them commits.
def test_concurrent_registrations_of_one_address_create_one(services: Services) -> None:
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
        except InvalidFields as error:
            return ", ".join(f"{problem.field} {problem.rule}" for problem in error.problems)
        return "registered"

    with ThreadPoolExecutor(8) as threads:
        outcomes = sorted(threads.map(register, range(8)))
    assert outcomes == ["email taken"] * 7 + ["registered"]
    assert count(services) == 1


# The account is committed by then. After an error, its owner would try again and get "taken".
def test_register_succeeds_when_the_mail_fails(make_services: Any, caplog: pytest.LogCaptureFixture) -> None:
    class BrokenMailer:
        def send(self, _mail: object) -> None:
            raise Unavailable("The disk is full.")

    services = make_services(mailer=BrokenMailer())
    account, plain = accounts.register(services, FORM, "tests", CLIENT)
    assert tokens.authenticate(services.database, plain, services.clock.now()).account == account
    assert "The disk is full." in caplog.text


# Otherwise the mail could carry a message of an attacker to any address.
def test_mails_repeat_nothing_from_the_registration(services: Services, mailer: Any) -> None:
    name = "friend, your parcel waits at https://evil.example"
    account, _token = accounts.register(services, FORM | {"name": name}, "tests", CLIENT)
    accounts.request_verification(services, account.email, CLIENT)
    password_reset.request(services, account.email, CLIENT)

    assert [mail.to for mail in mailer.sent] == ["jane@example.com"] * 3
    assert all(mail.text.startswith("Hello,\n\n") for mail in mailer.sent)
    assert "evil" not in "".join(map(str, mailer.sent))


@pytest.mark.parametrize(
    "name", ["Jane\nSmith", "Jane\n", "\r", "\0", "a\x1bb", "\x7f", "\x85", "\u2028", "\u2029"]
)
def test_name_with_control_character_is_refused(services: Services, name: str) -> None:
    assert problems_of(services, FORM | {"name": name}) == [("name", "characters")]


# Only a line break at the end is not compared: Python's `$` matches before it.
def test_name_characters_match_the_contracts_pattern(services: Services) -> None:
    contract = yaml.load((ROOT / "openapi.yaml").read_text("utf-8"), yaml.CSafeLoader)
    pattern = contract["components"]["schemas"]["Registration"]["properties"]["name"]["pattern"]
    refused = [
        letter for letter in map(chr, range(sys.maxunicode + 1)) if not re.search(pattern, letter + ".")
    ]

    assert len(refused) == 67
    assert all(list(accounts.name_problems(letter)) for letter in refused)
    assert not list(accounts.name_problems("".join(set(map(chr, range(sys.maxunicode + 1))) - set(refused))))


def test_registrations_of_one_client_send_at_most_50_mails(services: Services, mailer: Any) -> None:
    for number in range(60):
        assert accounts.register(services, FORM | {"email": f"jane{number}@example.com"}, "tests", CLIENT)
    assert len(mailer.sent) == 50

    accounts.request_verification(services, "jane59@example.com", "198.51.100.7")
    assert mailer.sent[-1].to == "jane59@example.com"


# --- login and logout


def test_login_with_correct_password_returns_a_token(
    services: Services, make_account: Any, password: str
) -> None:
    account = make_account(email="jane@example.com")
    found, plain = accounts.log_in(services, "JANE@example.COM", password, "a phone", "192.0.2.1")
    principal = tokens.authenticate(services.database, plain, services.clock.now())
    assert principal.account == found == account
    assert principal.token.name == "a phone"


def test_each_login_creates_its_own_token(services: Services, account: Account, password: str) -> None:
    first, second = (
        accounts.log_in(services, account.email, password, "tests", "192.0.2.1")[1] for _ in range(2)
    )
    now = services.clock.now()
    accounts.log_out(services, tokens.authenticate(services.database, first, now))
    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, first, now)
    assert tokens.authenticate(services.database, second, now).account == account


def test_wrong_password_and_unknown_address_fail_alike(
    services: Services, account: Account, password: str
) -> None:
    errors = []
    for email, tried in (
        (account.email, password + "x"),
        (account.email, ""),
        ("unknown@example.com", password),
        ("no address", password),
        ("", ""),
    ):
        with pytest.raises(WrongCredentials) as caught:
            accounts.log_in(services, email, tried, "tests", "192.0.2.1")
        errors.append((type(caught.value), caught.value.args))
    assert len(set(errors)) == 1


# The response time must not reveal it either: without an account, a hash is verified too.
@pytest.mark.parametrize("email", ["jane1@example.com", "unknown@example.com", "no address"])
def test_login_verifies_one_hash_for_any_address(make_services: Any, account: Account, email: str) -> None:
    checked: list[bool] = []

    class CountingPasswords:
        def matches(self, password: str, password_hash: str | None) -> bool:
            checked.append(password_hash is not None)
            return False

    with pytest.raises(WrongCredentials):
        accounts.log_in(make_services(passwords=CountingPasswords()), email, "wrong", "tests", "192.0.2.1")
    assert checked == [email == account.email]


def test_unverified_address_is_reported_to_correct_password_only(
    services: Services, make_account: Any, password: str
) -> None:
    account = make_account(verified=False)
    with pytest.raises(EmailNotVerified):
        accounts.log_in(services, account.email, password, "tests", "192.0.2.1")
    with pytest.raises(WrongCredentials):
        accounts.log_in(services, account.email, password + "x", "tests", "192.0.2.1")


# --- email verification


def test_verification_mail_links_to_the_configured_origin(
    make_services: Any, mailer: Any, clock: Any
) -> None:
    services = make_services(policy=Policy(origin="https://images.example"))
    account, _token = accounts.register(services, FORM, "tests", CLIENT)
    (mail,) = mailer.sent
    assert mail.to == "jane@example.com"
    assert mailer.last_link.startswith(f"https://images.example/api/auth/verify-email/{account.id}/")
    assert "2026-11-23 12:30 UTC" in mail.text


def test_opening_the_link_verifies_the_address(
    services: Services, registered: Account, signed: str, clock: Any
) -> None:
    verified_at = clock.advance(timedelta(hours=2))
    accounts.verify_email(services, registered.id, signed)
    account = by_id(services, registered.id)
    assert account.email_verified_at == account.updated_at == verified_at
    assert accounts.log_in(services, FORM["email"], FORM["password"], "tests", "192.0.2.1")[0] == account


# Mail programs open links to scan them, and users click twice.
def test_second_verification_changes_nothing(
    services: Services, registered: Account, signed: str, clock: Any
) -> None:
    accounts.verify_email(services, registered.id, signed)
    once = by_id(services, registered.id)
    clock.advance(timedelta(hours=1))
    accounts.verify_email(services, registered.id, signed)
    assert by_id(services, registered.id) == once


def test_verification_link_is_valid_until_it_expires(
    services: Services, registered: Account, signed: str, clock: Any
) -> None:
    clock.advance(services.policy.verification_link_lifetime + timedelta(seconds=1))
    with pytest.raises(InvalidLink):
        accounts.verify_email(services, registered.id, signed)
    assert by_id(services, registered.id).email_verified_at is None
    clock.advance(timedelta(seconds=-2))
    accounts.verify_email(services, registered.id, signed)
    assert by_id(services, registered.id).email_verified_at is not None


def test_changed_verification_link_is_refused(services: Services, registered: Account, signed: str) -> None:
    for position, letter in enumerate(signed):
        changed = signed[:position] + ("A" if letter != "A" else "B") + signed[position + 1 :]
        with pytest.raises(InvalidLink):
            accounts.verify_email(services, registered.id, changed)
    assert by_id(services, registered.id).email_verified_at is None


@pytest.mark.parametrize("account_id", [0, 2, 4711, 2**53 - 1])
def test_link_verifies_no_other_account(
    services: Services, registered: Account, signed: str, account_id: int
) -> None:
    with pytest.raises(InvalidLink):
        accounts.verify_email(services, account_id, signed)


def test_link_for_a_former_address_is_refused(services: Services, registered: Account, mailer: Any) -> None:
    accounts.send_verification(services, replace(registered, email="earlier@example.com"))
    with pytest.raises(InvalidLink):
        accounts.verify_email(services, registered.id, mailer.last_link.rpartition("/")[2])


def test_download_link_verifies_no_account(services: Services, registered: Account, clock: Any) -> None:
    url = services.store.signed_url("results/x.png", "x.png", clock.now() + timedelta(hours=1))
    with pytest.raises(InvalidLink):
        accounts.verify_email(services, registered.id, url.rpartition("/")[2])


def test_account_is_found_in_any_spelling_of_its_address(services: Services, make_account: Any) -> None:
    account = make_account(email="jane@example.com")
    assert accounts.get_by_email(services, "Jane@EXAMPLE.com") == account
    for unknown in ("unknown@example.com", "no address"):
        with pytest.raises(NotFound, match=f"no account for {unknown}"):
            accounts.get_by_email(services, unknown)
