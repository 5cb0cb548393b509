"""Requests per hour: by account as its plan says, by address for callers without a valid token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import TooManyRequests

if TYPE_CHECKING:
    from domain.ports import Window
    from domain.records import Principal
    from domain.services import Services

HOUR_SECONDS = 3600


@dataclass(frozen=True)
class Allowance:
    """What this request is counted against: ``key`` names the bucket, ``limit`` is its size in requests."""

    key: str
    limit: int


def allowance(services: Services, principal: Principal | None, address: str) -> Allowance:
    if principal is None:
        return Allowance(f"address:{address}", services.policy.unauthenticated_per_hour)
    plan = services.plans[principal.account.plan]
    return Allowance(f"account:{principal.account.id}", plan.requests_per_hour)


def count(services: Services, allowance: Allowance) -> Window | None:
    """Counts one request; None when the counters are out of reach, which refuses nobody."""
    return services.counter.hit(f"hour:{allowance.key}", allowance.limit, HOUR_SECONDS)


def admit(window: Window | None) -> None:
    """Raises TooManyRequests for a request that was one too many."""
    if window is not None and window.exceeded:
        raise TooManyRequests(window.resets_in_seconds)
