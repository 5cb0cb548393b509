from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from domain import accounts, password_reset, tokens
from domain.errors import FieldProblem, InvalidFields, Unauthenticated, Unavailable, WrongCredentials
from domain.services import Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.records import Account
    from domain.services import Services

NEW = "New-Correct-Horse-10"
CLIENT = "192.0.2.1"
UNUSABLE = ("token", "invalid_or_expired")


def form(account: Account, token: str, password: str = NEW, **changes: str) -> dict[str, str]:
    return {
        "email": account.email,
        "token": token,
        "password": password,
        "password_confirmation": password,
        **changes,
    }


def problems_of(
    services: Services, fields: dict[str, Any], *schema_problems: FieldProblem
) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFields) as caught:
        password_reset.reset(services, fields, schema_problems)
    return [(problem.field, problem.rule) for problem in caught.value.problems]


def reload(services: Services, account: Account) -> Account:
    return accounts.get_by_email(services, account.email)


@pytest.fixture
def mailed_token(services: Services, mailer: Any) -> Callable[[Account], str]:
    """Request a reset token for an account and return the token in the mail."""

    def request(account: Account) -> str:
        password_reset.request(services, account.email, CLIENT)
        assert mailer.sent[-1].to == account.email
        (token,) = (line for line in mailer.sent[-1].text.splitlines() if len(line) > 80 and " " not in line)
        return str(token)

    return request


# --- requests


def test_reset_mail_contains_token_url_and_expiry(make_services: Any, account: Account, mailer: Any) -> None:
    services = make_services(policy=Policy(origin="https://images.example"))
    password_reset.request(services, account.email.upper(), CLIENT)

    (mail,) = mailer.sent
    assert mail.to == account.email
    assert account.name in mail.text
    assert mailer.last_link == "https://images.example/api/auth/reset-password"
    assert "2026-11-22 13:30 UTC" in mail.text


# A request does the same work for every address: the account is read only after the response.
@pytest.mark.parametrize("request_mail", [password_reset.request, accounts.request_verification])
def test_request_does_not_read_the_account(make_services: Any, make_account: Any, request_mail: Any) -> None:
    addresses = [
        make_account(email="verified@example.com").email,
        make_account(email="waiting@example.com", verified=False).email,
        "unknown@example.com",
    ]
    submitted: list[Any] = []
    without_database = make_services(database=None, mailer=None, background=submitted.append)

    for address in addresses:
        request_mail(without_database, address, CLIENT)

    assert len(submitted) == len(addresses)


@pytest.mark.parametrize(
    "email", ["unknown@example.com", "no address", "", "jane@example.com\nBcc: all@example.com"]
)
def test_address_without_account_gets_no_mail(
    services: Services, account: Account, mailer: Any, email: str
) -> None:
    password_reset.request(services, email, CLIENT)
    accounts.request_verification(services, email, CLIENT)
    assert mailer.sent == []


def test_only_unverified_address_gets_another_link(
    services: Services, make_account: Any, mailer: Any
) -> None:
    waiting, verified = make_account(verified=False), make_account()
    accounts.request_verification(services, verified.email, CLIENT)
    assert mailer.sent == []

    accounts.request_verification(services, waiting.email.upper(), CLIENT)
    (mail,) = mailer.sent
    assert mail.to == waiting.email
    accounts.verify_email(services, waiting.id, mailer.last_link.rpartition("/")[2])
    assert reload(services, waiting).email_verified_at is not None


def test_failed_reset_mail_is_logged_and_not_raised(
    make_services: Any, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenMailer:
        def send(self, _mail: object) -> None:
            raise Unavailable("The server is down.")

    password_reset.request(make_services(mailer=BrokenMailer()), account.email, CLIENT)
    assert "The server is down." in caplog.text


def test_address_gets_at_most_five_mails_an_hour(
    services: Services, account: Account, mailer: Any, clock: Any
) -> None:
    for number in range(20):
        password_reset.request(services, account.email, f"192.0.2.{number}")
    assert len(mailer.sent) == 5

    clock.advance(timedelta(hours=1, seconds=1))
    password_reset.request(services, account.email, CLIENT)
    assert len(mailer.sent) == 6


# Otherwise an attacker could keep a user from ever getting a new password.
def test_each_kind_of_mail_has_its_own_limit(services: Services, make_account: Any, mailer: Any) -> None:
    waiting = make_account(verified=False)
    for _ in range(10):
        accounts.request_verification(services, waiting.email, CLIENT)
    mailer.sent.clear()

    password_reset.request(services, waiting.email, CLIENT)
    assert len(mailer.sent) == 1


def test_one_client_causes_at_most_50_mails_an_hour(
    services: Services, make_account: Any, mailer: Any
) -> None:
    users = [make_account() for _ in range(60)]
    for user in users:
        password_reset.request(services, user.email, CLIENT)
    assert len(mailer.sent) == 50

    # Requests over the client's limit do not count against the limit of the address.
    for _ in range(10):
        password_reset.request(services, users[-1].email, CLIENT)
    password_reset.request(services, users[-1].email, "192.0.2.2")
    assert mailer.sent[-1].to == users[-1].email


def test_mail_limit_holds_when_counters_are_unavailable(
    services: Services, account: Account, mailer: Any, counter: Any
) -> None:
    counter.broken = True
    for number in range(20):
        password_reset.request(services, account.email, f"192.0.2.{number}")
    assert len(mailer.sent) == 5


# --- reset


def test_reset_sets_the_password_and_revokes_all_tokens(
    services: Services, make_account: Any, mailed_token: Any, password: str, clock: Any
) -> None:
    jane, other = make_account(), make_account()
    plain = accounts.log_in(services, jane.email, password, "tests", CLIENT)[1]
    others = accounts.log_in(services, other.email, password, "tests", CLIENT)[1]
    reset_at = clock.advance(timedelta(minutes=5))

    password_reset.reset(services, form(jane, mailed_token(jane)))

    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, plain, clock.now())
    assert tokens.list_for_account(services, jane) == []
    with pytest.raises(WrongCredentials):
        accounts.log_in(services, jane.email, password, "tests", CLIENT)
    assert accounts.log_in(services, jane.email, NEW, "tests", CLIENT)[0].updated_at == reset_at
    assert tokens.authenticate(services.database, others, clock.now()).account == other
    assert reload(services, other) == other


def test_reset_verifies_the_address(
    services: Services, make_account: Any, mailed_token: Any, clock: Any
) -> None:
    waiting = make_account(verified=False)
    password_reset.reset(services, form(waiting, mailed_token(waiting)))
    assert reload(services, waiting).email_verified_at == clock.now()


def test_reset_keeps_an_earlier_verification_time(
    services: Services, account: Account, mailed_token: Any, clock: Any
) -> None:
    clock.advance(timedelta(days=1))
    password_reset.reset(services, form(account, mailed_token(account)))
    assert reload(services, account).email_verified_at == account.email_verified_at


def test_reset_accepts_the_address_in_any_case(
    services: Services, account: Account, mailed_token: Any
) -> None:
    password_reset.reset(services, form(account, mailed_token(account), email=account.email.upper()))
    assert services.passwords.matches(NEW, reload(services, account).password_hash)


def test_used_token_ends_itself_and_all_earlier_ones(
    services: Services, account: Account, mailed_token: Any, clock: Any
) -> None:
    first = mailed_token(account)
    clock.advance(timedelta(minutes=1))
    second = mailed_token(account)
    password_reset.reset(services, form(account, second))

    for used in (first, second):
        assert problems_of(services, form(account, used, "Another-Password-11")) == [UNUSABLE]
    assert services.passwords.matches(NEW, reload(services, account).password_hash)


def test_reset_token_is_valid_until_it_expires(
    services: Services, account: Account, mailed_token: Any, clock: Any
) -> None:
    token = mailed_token(account)
    clock.advance(services.policy.reset_link_lifetime + timedelta(seconds=1))
    assert problems_of(services, form(account, token)) == [UNUSABLE]
    clock.advance(timedelta(seconds=-2))
    password_reset.reset(services, form(account, token))


def test_changed_reset_token_is_refused(services: Services, account: Account, mailed_token: Any) -> None:
    token = mailed_token(account)
    for position, letter in enumerate(token):
        changed = token[:position] + ("A" if letter != "A" else "B") + token[position + 1 :]
        assert problems_of(services, form(account, changed)) == [UNUSABLE]
    assert reload(services, account) == account


def test_every_unusable_token_gives_the_same_error(
    services: Services, make_account: Any, mailed_token: Any, mailer: Any, clock: Any
) -> None:
    jane, other = make_account(), make_account()
    token = mailed_token(jane)
    accounts.send_verification(services, jane)
    link = mailer.last_link.rpartition("/")[2]
    earlier = password_reset.token_for(
        services.links, replace(jane, email="earlier@example.com"), clock.now() + timedelta(hours=1)
    )

    found = [
        problems_of(services, form(other, token)),
        problems_of(services, form(jane, token, email="unknown@example.com")),
        problems_of(services, form(jane, token, email="no address")),
        problems_of(services, form(jane, link)),
        problems_of(services, form(jane, earlier)),
        problems_of(services, form(jane, "x")),
        problems_of(services, form(jane, "é\ud800")),
    ]

    assert found == [[UNUSABLE]] * len(found)
    assert reload(services, jane) == jane
    assert reload(services, other) == other


def test_reset_reports_all_problems_together(services: Services, account: Account) -> None:
    fields = form(account, "wrong", "abc", password_confirmation="abd")
    unknown = FieldProblem("remember", "unknown")
    assert problems_of(services, fields, unknown) == [
        ("remember", "unknown"),
        UNUSABLE,
        ("password", "min_characters"),
        ("password", "mixed_case"),
        ("password", "digit"),
        ("password", "confirmed"),
    ]


def test_refused_password_does_not_use_up_the_token(
    services: Services, account: Account, mailed_token: Any
) -> None:
    token = mailed_token(account)
    assert problems_of(services, form(account, token, "short"))[0] == ("password", "min_characters")
    assert problems_of(services, form(account, token), FieldProblem("remember", "unknown"))
    password_reset.reset(services, form(account, token))


def test_concurrent_use_of_one_token_sets_one_password(
    services: Services, account: Account, mailed_token: Any
) -> None:
    token, start = mailed_token(account), Barrier(6)

    def reset(number: int) -> str:
        password = f"{NEW}-{number}"
        start.wait()
        try:
            password_reset.reset(services, form(account, token, password))
        except InvalidFields:
            return ""
        return password

    with ThreadPoolExecutor(6) as threads:
        (winner,) = filter(None, threads.map(reset, range(6)))
    assert services.passwords.matches(winner, reload(services, account).password_hash)


# The password was correct when it was verified and had changed before the token was created.
def test_login_overtaken_by_a_reset_gets_no_token(
    make_services: Any, services: Services, account: Account, mailed_token: Any, password: str
) -> None:
    token = mailed_token(account)

    class Overtaken:
        def matches(self, given: str, password_hash: str | None) -> bool:
            right = services.passwords.matches(given, password_hash)
            password_reset.reset(services, form(account, token))
            return right

    with pytest.raises(WrongCredentials):
        accounts.log_in(make_services(passwords=Overtaken()), account.email, password, "tests", CLIENT)
    assert tokens.list_for_account(services, account) == []
