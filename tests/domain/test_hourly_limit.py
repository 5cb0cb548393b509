"""Requests per hour and failed logins: who is counted where, and when it is enough."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from domain import accounts, hourly_limit
from domain.errors import TooManyFailedLogins, TooManyRequests, WrongCredentials
from domain.records import Account, Token
from domain.services import Rules, Services
from domain.tokens import Principal

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
    services = make_services(rules=Rules(unauthenticated_per_hour=3))
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


def test_successful_logins_are_not_counted(services: Services, account: Account, password: str) -> None:
    for _ in range(40):
        accounts.log_in(services, account.email, password, "tests", ADDRESS)

    assert accounts.log_in(services, account.email, password, "tests", ADDRESS)
