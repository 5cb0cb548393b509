"""Images per calendar month, UTC: taken with the rows, given back when the service is to blame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import QuotaExceeded
from domain.plans import UNLIMITED

if TYPE_CHECKING:
    from datetime import datetime

    from domain.database.unit_of_work import UnitOfWork
    from domain.plans import Plan
    from domain.records import Account, Image, Principal
    from domain.services import Services


@dataclass(frozen=True)
class Usage:
    used: int
    limit: int | None  # None: unlimited

    @property
    def remaining(self) -> int | None:
        """Never below 0, also after a change to a smaller plan."""
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def exceeded(self) -> bool:
        """Whether the next image would be refused."""
        return self.remaining == 0

    @property
    def percentage(self) -> float:
        """With one decimal, halves up; above 100 after a change to a smaller plan, 0 without a limit."""
        if self.limit is None:
            return 0.0
        if self.limit == 0:
            return 100.0  # of nothing, everything is used
        # In whole tenths of a percent: binary fractions would round some halves down.
        return (2000 * self.used + self.limit) // (2 * self.limit) / 10


def month_of(now: datetime) -> str:
    """``2026-11``"""
    return f"{now.year:04}-{now.month:02}"


def limit_of(account: Account, plan: Plan) -> int | None:
    """Images per month, None without a limit: the account's own number, where the operator gave it one."""
    if account.images_per_month is None:
        return plan.images_per_month
    return None if account.images_per_month == UNLIMITED else account.images_per_month


def set_limit(services: Services, account: Account, images_per_month: int | None) -> None:
    """Gives the account a number of its own from the next request on, ``UNLIMITED``, or None for that of its plan."""
    with services.database.writing() as work:
        work.accounts.set_images_per_month(account.id, images_per_month, services.clock.now())
        work.commit()


def this_month(services: Services, account: Account) -> Usage:
    plan = services.plans[account.plan]
    with services.database.reading() as work:
        return usage(work, account, plan, services.clock.now())


def usage_at_authentication(services: Services, principal: Principal) -> Usage:
    """As it was when it was found out who asks; whoever changes it since wants ``this_month``."""
    account = principal.account
    return Usage(principal.used_this_month, limit_of(account, services.plans[account.plan]))


def usage(work: UnitOfWork, account: Account, plan: Plan, now: datetime) -> Usage:
    return Usage(work.quota.used(account.id, month_of(now)), limit_of(account, plan))


def take(work: UnitOfWork, account: Account, plan: Plan, now: datetime, images: int = 1) -> None:
    """Raises QuotaExceeded, and takes nothing then."""
    if not work.quota.take(account.id, month_of(now), images, limit_of(account, plan)):
        raise QuotaExceeded


def give_back(work: UnitOfWork, image: Image) -> None:
    work.quota.give_back(image.account_id, image.quota_month, 1)
