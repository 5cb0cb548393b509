"""The hourly request limit: per account according to its plan, per address for requests without a valid token."""

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
    """The bucket that counts a request; ``limit`` is its size in requests."""

    key: str
    limit: int


def allowance(services: Services, principal: Principal | None, address: str) -> Allowance:
    """Return the bucket of the principal's account, or of the client's address if there is no principal."""
    if principal is None:
        return Allowance(f"address:{address}", services.policy.unauthenticated_per_hour)
    plan = services.plans[principal.account.plan]
    return Allowance(f"account:{principal.account.id}", plan.requests_per_hour)


def count(services: Services, allowance: Allowance) -> Window | None:
    """Count one request and return the bucket's window, or None if the counters are unavailable."""
    return services.counter.hit(f"hour:{allowance.key}", allowance.limit, HOUR_SECONDS)


def admit(window: Window | None) -> None:
    """Raise TooManyRequests if the counted request exceeds the limit; without a window, the request is admitted."""
    if window is not None and window.exceeded:
        raise TooManyRequests(window.resets_in_seconds)
