from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from domain import hourly_limit
from domain.errors import TooManyRequests
from domain.records import Account, Principal, Token
from domain.services import Policy, Services

ADDRESS = "192.0.2.1"


@pytest.fixture
def principal(account: Account, clock: Any) -> Principal:
    return Principal(account, Token(1, account.id, "tests", "", (), None, clock.now()))


def request(services: Services, principal: Principal | None, address: str = ADDRESS) -> int:
    """Count one request and return how many remain."""
    window = hourly_limit.count(services, hourly_limit.allowance(services, principal, address))
    hourly_limit.admit(window)
    assert window is not None
    return window.remaining


def test_account_has_its_plans_limit_for_all_addresses(services: Services, principal: Principal) -> None:
    limit = services.plans["starter"].requests_per_hour

    assert request(services, principal, "192.0.2.1") == limit - 1
    assert request(services, principal, "198.51.100.7") == limit - 2


def test_request_over_the_limit_is_refused_until_the_hour_ends(
    make_services: Callable[..., Services], clock: Any
) -> None:
    services = make_services(policy=Policy(unauthenticated_per_hour=3))
    assert [request(services, None) for _ in range(3)] == [2, 1, 0]
    clock.advance(timedelta(minutes=20))

    with pytest.raises(TooManyRequests) as caught:
        request(services, None)
    assert caught.value.retry_after_seconds == 2400
    assert request(services, None, "198.51.100.7") == 2

    clock.advance(timedelta(minutes=40))
    assert request(services, None) == 2


def test_unavailable_counters_admit_every_request(
    services: Services, principal: Principal, counter: Any
) -> None:
    counter.broken = True

    window = hourly_limit.count(services, hourly_limit.allowance(services, principal, ADDRESS))

    assert window is None
    hourly_limit.admit(window)
