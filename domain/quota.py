"""The monthly quota of images (calendar month in UTC): reserve at upload, release if no result is delivered."""

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
    """The used and the allowed images of one month."""

    used: int
    limit: int | None  # None: unlimited

    @property
    def remaining(self) -> int | None:
        """Return the images left, or None without a limit.

        It is 0 if a smaller plan leaves the usage above the limit.
        """
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def exceeded(self) -> bool:
        """Return whether the next image would exceed the quota."""
        return self.remaining == 0

    @property
    def percentage(self) -> float:
        """Return the used share in percent, rounded half up to one decimal; 0 without a limit.

        It is 100 for a limit of 0, and above 100 if a smaller plan leaves the usage above the limit.
        """
        if self.limit is None:
            return 0.0
        if self.limit == 0:
            return 100.0
        # Computed in whole tenths of a percent: binary fractions would round some halves down.
        return (2000 * self.used + self.limit) // (2 * self.limit) / 10


def month_of(now: datetime) -> str:
    """Return the month in the form ``2026-11``."""
    return f"{now.year:04}-{now.month:02}"


def limit_of(account: Account, plan: Plan) -> int | None:
    """Return the images per month, or None for no limit.

    The account's own limit, if it has one, goes before its plan's.
    """
    if account.images_per_month is None:
        return plan.images_per_month
    return None if account.images_per_month == UNLIMITED else account.images_per_month


def set_limit(services: Services, account: Account, images_per_month: int | None) -> None:
    """Set the account's own limit: a number, ``UNLIMITED``, or None to use the plan's limit."""
    with services.database.writing() as work:
        work.accounts.set_images_per_month(account.id, images_per_month, services.clock.now())
        work.commit()


def this_month(services: Services, account: Account) -> Usage:
    """Read the account's usage of the current month from the database."""
    plan = services.plans[account.plan]
    with services.database.reading() as work:
        return usage(work, account, plan, services.clock.now())


def usage_at_authentication(services: Services, principal: Principal) -> Usage:
    """Return the usage that was read together with the token; ``this_month`` includes later changes."""
    account = principal.account
    return Usage(principal.used_this_month, limit_of(account, services.plans[account.plan]))


def usage(work: UnitOfWork, account: Account, plan: Plan, now: datetime) -> Usage:
    """Return the account's usage of the month of ``now``."""
    return Usage(work.quota.used(account.id, month_of(now)), limit_of(account, plan))


def reserve(work: UnitOfWork, account: Account, plan: Plan, now: datetime, images: int = 1) -> None:
    """Reserve quota for ``images`` images in the month of ``now``; the caller commits.

    Raise QuotaExceeded, without reserving any, if it does not suffice.
    """
    if not work.quota.reserve(account.id, month_of(now), images, limit_of(account, plan)):
        raise QuotaExceeded


def refund(work: UnitOfWork, image: Image) -> None:
    """Give back the quota of one image in the month in which it was reserved; the caller commits."""
    work.quota.refund(image.account_id, image.quota_month, 1)
