"""Requests per hour and failed logins: who is counted where, and when it is enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from domain import accounts, hourly_limit
from domain.errors import TooManyFailedLogins, TooManyRequests, WrongCredentials
from domain.records import Account, Principal, Token
from domain.services import Policy, Services

ADDRESS = "192.0.2.1"


@pytest.fixture
def principal(account: Account, clock: Any) -> Principal:
    return Principal(account, Token(1, account.id, "tests", "", (), None, clock.now()))


def request(services: Services, principal: Principal | None, address: str = ADDRESS) -> int:
    """One counted request; how many are left."""
    window = hourly_limit.count(services, hourly_limit.allowance(services, principal, address))
    hourly_limit.admit(window)
    assert window is not None
    return window.remaining


def test_an_account_has_what_its_plan_says_wherever_it_comes_from(
    services: Services, principal: Principal
) -> None:
    limit = services.plans["starter"].requests_per_hour

    assert request(services, principal, "192.0.2.1") == limit - 1
    assert request(services, principal, "198.51.100.7") == limit - 2


def test_the_request_after_the_last_one_is_refused_until_the_hour_is_over(
    make_services: Callable[..., Services], clock: Any
) -> None:
    services = make_services(policy=Policy(unauthenticated_per_hour=3))
    assert [request(services, None) for _ in range(3)] == [2, 1, 0]
    clock.advance(timedelta(minutes=20))

    with pytest.raises(TooManyRequests) as refused:
        request(services, None)
    assert refused.value.retry_after_seconds == 2400
    assert request(services, None, "198.51.100.7") == 2

    clock.advance(timedelta(minutes=40))
    assert request(services, None) == 2


def test_counters_out_of_reach_refuse_nobody(services: Services, principal: Principal, counter: Any) -> None:
    counter.broken = True

    window = hourly_limit.count(services, hourly_limit.allowance(services, principal, ADDRESS))

    assert window is None
    hourly_limit.admit(window)


def fail(services: Services, email: str, address: str = ADDRESS) -> None:
    with pytest.raises(WrongCredentials):
        accounts.log_in(services, email, "wrong", "tests", address)


def test_ten_failures_close_the_account_to_that_address_the_right_password_included(
    services: Services, account: Account, password: str, clock: Any
) -> None:
    for _ in range(10):
        fail(services, account.email)

    with pytest.raises(TooManyFailedLogins) as refused:
        accounts.log_in(services, account.email, password, "tests", ADDRESS)
    assert refused.value.retry_after_seconds == 300
    assert accounts.log_in(services, account.email, password, "tests", "198.51.100.7")

    clock.advance(timedelta(minutes=5))
    assert accounts.log_in(services, account.email, password, "tests", ADDRESS)


# Otherwise one address could try one password on every account.
def test_thirty_failures_close_every_account_to_that_address(
    services: Services, account: Account, password: str
) -> None:
    for number in range(30):
        fail(services, f"somebody{number}@example.com")

    with pytest.raises(TooManyFailedLogins):
        accounts.log_in(services, account.email, password, "tests", ADDRESS)


def test_other_spellings_of_an_address_are_the_same_account(services: Services, account: Account) -> None:
    for number in range(10):
        fail(services, account.email.upper() if number % 2 else account.email)

    with pytest.raises(TooManyFailedLogins):
        accounts.log_in(services, account.email.title(), "wrong", "tests", ADDRESS)


def test_every_way_to_write_a_domain_is_the_same_account(services: Services, make_account: Any) -> None:
    make_account(email="jane@example.com")
    for number in range(10):
        fail(services, "jane@ex\uff41mple.com" if number % 2 else "jane@example\u3002com")

    with pytest.raises(TooManyFailedLogins):
        accounts.log_in(services, "jane@example.com", "wrong", "tests", ADDRESS)


# Each of them found room when it came. Only so many may learn whether they were right.
def test_of_many_guesses_at_once_ten_are_answered(
    make_services: Any, services: Services, account: Account, password: str
) -> None:
    looked_at = Barrier(20)

    class SlowPasswords:
        def matches(self, given: str, password_hash: str | None) -> bool:
            looked_at.wait(10)
            return services.passwords.matches(given, password_hash)

    slow = make_services(passwords=SlowPasswords())

    def guess(_number: int) -> type[Exception]:
        with pytest.raises((WrongCredentials, TooManyFailedLogins)) as refused:
            accounts.log_in(slow, account.email, "wrong", "tests", ADDRESS)
        return refused.type

    with ThreadPoolExecutor(20) as threads:
        answers = Counter(threads.map(guess, range(20)))

    assert answers == {WrongCredentials: 10, TooManyFailedLogins: 10}


def test_a_right_guess_among_many_is_not_told_either(
    make_services: Any, services: Services, account: Account, password: str
) -> None:
    class OvertakenPasswords:
        def matches(self, given: str, password_hash: str | None) -> bool:
            for _ in range(10):
                fail(services, account.email)
            return services.passwords.matches(given, password_hash)

    with pytest.raises(TooManyFailedLogins):
        accounts.log_in(
            make_services(passwords=OvertakenPasswords()), account.email, password, "tests", ADDRESS
        )


def test_successful_logins_are_not_counted(services: Services, account: Account, password: str) -> None:
    for _ in range(40):
        accounts.log_in(services, account.email, password, "tests", ADDRESS)

    assert accounts.log_in(services, account.email, password, "tests", ADDRESS)
