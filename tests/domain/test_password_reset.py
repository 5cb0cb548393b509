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
UNUSABLE = ("token", "unusable")


def form(account: Account, token: str, password: str = NEW, **changes: str) -> dict[str, str]:
    return {
        "email": account.email,
        "token": token,
        "password": password,
        "password_confirmation": password,
        **changes,
    }


def problems_of(services: Services, fields: dict[str, Any], *known: FieldProblem) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFields) as caught:
        password_reset.reset(services, fields, known)
    return [(problem.field, problem.rule) for problem in caught.value.problems]


def again(services: Services, account: Account) -> Account:
    return accounts.named(services, account.email)


@pytest.fixture
def mailed_token(services: Services, mailer: Any) -> Callable[[Account], str]:
    """Asks for a token; the one that the mail brings."""

    def ask(account: Account) -> str:
        password_reset.request(services, account.email, CLIENT)
        assert mailer.sent[-1].to == account.email
        (token,) = (line for line in mailer.sent[-1].text.splitlines() if len(line) > 80 and " " not in line)
        return str(token)

    return ask


# --- asking


def test_the_mail_brings_a_token_and_says_how_to_use_it(
    make_services: Any, account: Account, mailer: Any
) -> None:
    services = make_services(policy=Policy(origin="https://pictures.example"))
    password_reset.request(services, account.email.upper(), CLIENT)

    (mail,) = mailer.sent
    assert mail.to == account.email
    assert account.name in mail.text
    assert mailer.last_link == "https://pictures.example/api/auth/reset-password"
    assert "2026-11-22 13:30 UTC" in mail.text


# The request does the same for everybody: whom the address belongs to is found out when the answer has left.
@pytest.mark.parametrize("ask", [password_reset.request, accounts.request_verification])
def test_asking_never_looks_for_the_account(make_services: Any, make_account: Any, ask: Any) -> None:
    addresses = [
        make_account(email="verified@example.com").email,
        make_account(email="waiting@example.com", verified=False).email,
        "nobody@example.com",
    ]
    handed_over: list[Any] = []
    nobodys = make_services(database=None, mailer=None, background=handed_over.append)

    for address in addresses:
        ask(nobodys, address, CLIENT)

    assert len(handed_over) == len(addresses)


@pytest.mark.parametrize(
    "email", ["nobody@example.com", "no address", "", "jane@example.com\nBcc: all@example.com"]
)
def test_whoever_has_no_account_gets_no_mail(
    services: Services, account: Account, mailer: Any, email: str
) -> None:
    password_reset.request(services, email, CLIENT)
    accounts.request_verification(services, email, CLIENT)
    assert mailer.sent == []


def test_only_an_address_that_waits_to_be_verified_gets_another_link(
    services: Services, make_account: Any, mailer: Any
) -> None:
    waiting, verified = make_account(verified=False), make_account()
    accounts.request_verification(services, verified.email, CLIENT)
    assert mailer.sent == []

    accounts.request_verification(services, waiting.email.upper(), CLIENT)
    (mail,) = mailer.sent
    assert mail.to == waiting.email
    accounts.verify_email(services, waiting.id, mailer.last_link.rpartition("/")[2])
    assert again(services, waiting).email_verified_at is not None


def test_a_mail_that_cannot_leave_is_logged_and_told_to_nobody(
    make_services: Any, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenMailer:
        def send(self, _mail: object) -> None:
            raise Unavailable("The server is down.")

    password_reset.request(make_services(mailer=BrokenMailer()), account.email, CLIENT)
    assert "The server is down." in caplog.text


def test_nobody_can_flood_a_mailbox(services: Services, account: Account, mailer: Any, clock: Any) -> None:
    for number in range(20):
        password_reset.request(services, account.email, f"192.0.2.{number}")
    assert len(mailer.sent) == 5

    clock.advance(timedelta(hours=1, seconds=1))
    password_reset.request(services, account.email, CLIENT)
    assert len(mailer.sent) == 6


# Or somebody could keep another one from ever getting a new password.
def test_asking_for_one_kind_of_mail_leaves_the_other_its_own_bound(
    services: Services, make_account: Any, mailer: Any
) -> None:
    waiting = make_account(verified=False)
    for _ in range(10):
        accounts.request_verification(services, waiting.email, CLIENT)
    mailer.sent.clear()

    password_reset.request(services, waiting.email, CLIENT)
    assert len(mailer.sent) == 1


def test_one_client_has_mail_sent_to_so_many_and_no_more(
    services: Services, make_account: Any, mailer: Any
) -> None:
    people = [make_account() for _ in range(60)]
    for person in people:
        password_reset.request(services, person.email, CLIENT)
    assert len(mailer.sent) == 50

    # What it asked for in vain is not counted against those whom it asked for.
    for _ in range(10):
        password_reset.request(services, people[-1].email, CLIENT)
    password_reset.request(services, people[-1].email, "192.0.2.2")
    assert mailer.sent[-1].to == people[-1].email


def test_without_counters_mail_leaves_and_stays_bounded(
    services: Services, account: Account, mailer: Any, counter: Any
) -> None:
    counter.broken = True
    for number in range(20):
        password_reset.request(services, account.email, f"192.0.2.{number}")
    assert len(mailer.sent) == 5


# --- resetting


def test_the_token_sets_the_password_and_ends_every_token_of_the_account(
    services: Services, make_account: Any, mailed_token: Any, password: str, clock: Any
) -> None:
    jane, other = make_account(), make_account()
    plain = accounts.log_in(services, jane.email, password, "tests", CLIENT)[1]
    others = accounts.log_in(services, other.email, password, "tests", CLIENT)[1]
    reset_at = clock.advance(timedelta(minutes=5))

    password_reset.reset(services, form(jane, mailed_token(jane)))

    with pytest.raises(Unauthenticated):
        tokens.authenticate(services.database, plain, clock.now())
    assert tokens.of_account(services, jane) == []
    with pytest.raises(WrongCredentials):
        accounts.log_in(services, jane.email, password, "tests", CLIENT)
    assert accounts.log_in(services, jane.email, NEW, "tests", CLIENT)[0].updated_at == reset_at
    assert tokens.authenticate(services.database, others, clock.now()).account == other
    assert again(services, other) == other


def test_the_mail_proves_the_address(
    services: Services, make_account: Any, mailed_token: Any, clock: Any
) -> None:
    waiting = make_account(verified=False)
    password_reset.reset(services, form(waiting, mailed_token(waiting)))
    assert again(services, waiting).email_verified_at == clock.now()


def test_an_address_verified_long_ago_keeps_its_date(
    services: Services, account: Account, mailed_token: Any, clock: Any
) -> None:
    clock.advance(timedelta(days=1))
    password_reset.reset(services, form(account, mailed_token(account)))
    assert again(services, account).email_verified_at == account.email_verified_at


def test_the_address_may_be_written_in_any_case(
    services: Services, account: Account, mailed_token: Any
) -> None:
    password_reset.reset(services, form(account, mailed_token(account), email=account.email.upper()))
    assert services.passwords.matches(NEW, again(services, account).password_hash)


def test_a_token_is_good_once_and_ends_the_others_that_were_sent(
    services: Services, account: Account, mailed_token: Any, clock: Any
) -> None:
    first = mailed_token(account)
    clock.advance(timedelta(minutes=1))
    second = mailed_token(account)
    password_reset.reset(services, form(account, second))

    for used in (first, second):
        assert problems_of(services, form(account, used, "Another-Password-11")) == [UNUSABLE]
    assert services.passwords.matches(NEW, again(services, account).password_hash)


def test_a_token_is_good_for_its_whole_life_and_not_longer(
    services: Services, account: Account, mailed_token: Any, clock: Any
) -> None:
    token = mailed_token(account)
    clock.advance(services.policy.reset_link_lifetime + timedelta(seconds=1))
    assert problems_of(services, form(account, token)) == [UNUSABLE]
    clock.advance(timedelta(seconds=-2))
    password_reset.reset(services, form(account, token))


def test_a_token_with_any_character_changed_is_refused(
    services: Services, account: Account, mailed_token: Any
) -> None:
    token = mailed_token(account)
    for position, letter in enumerate(token):
        changed = token[:position] + ("A" if letter != "A" else "B") + token[position + 1 :]
        assert problems_of(services, form(account, changed)) == [UNUSABLE]
    assert again(services, account) == account


def test_whatever_is_wrong_with_the_token_is_said_in_one_way(
    services: Services, make_account: Any, mailed_token: Any, mailer: Any, clock: Any
) -> None:
    jane, other = make_account(), make_account()
    token = mailed_token(jane)
    accounts.send_verification(services, jane)
    link = mailer.last_link.rpartition("/")[2]
    earlier = password_reset.token_for(
        services.links, replace(jane, email="earlier@example.com"), clock.now() + timedelta(hours=1)
    )

    said = [
        problems_of(services, form(other, token)),
        problems_of(services, form(jane, token, email="nobody@example.com")),
        problems_of(services, form(jane, token, email="no address")),
        problems_of(services, form(jane, link)),
        problems_of(services, form(jane, earlier)),
        problems_of(services, form(jane, "x")),
        problems_of(services, form(jane, "é\ud800")),
    ]

    assert said == [[UNUSABLE]] * len(said)
    assert again(services, jane) == jane
    assert again(services, other) == other


def test_everything_that_is_wrong_is_told_at_once(services: Services, account: Account) -> None:
    fields = form(account, "wrong", "abc", password_confirmation="abd")
    known = FieldProblem("remember", "unknown")
    assert problems_of(services, fields, known) == [
        ("remember", "unknown"),
        UNUSABLE,
        ("password", "min_characters"),
        ("password", "mixed_case"),
        ("password", "number_in"),
        ("password", "confirmed"),
    ]


def test_a_token_is_not_used_up_by_a_password_that_is_refused(
    services: Services, account: Account, mailed_token: Any
) -> None:
    token = mailed_token(account)
    assert problems_of(services, form(account, token, "short"))[0] == ("password", "min_characters")
    assert problems_of(services, form(account, token), FieldProblem("remember", "unknown"))
    password_reset.reset(services, form(account, token))


def test_of_many_who_use_one_token_at_once_one_sets_the_password(
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
    assert services.passwords.matches(winner, again(services, account).password_hash)


# Its password was right when it was looked at, and wrong before its token was there.
def test_a_login_that_a_reset_overtakes_gets_no_token(
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
    assert tokens.of_account(services, account) == []
