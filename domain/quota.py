"""Images per calendar month, UTC: taken with the rows, given back when the service is to blame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import QuotaExceeded

if TYPE_CHECKING:
    from datetime import datetime

    from domain.plans import Plan
    from domain.records import Account, Image
    from domain.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Usage:
    used: int
    limit: int | None  # None: unlimited

    @property
    def remaining(self) -> int | None:
        """Never below 0, also after a change to a smaller plan."""
        return None if self.limit is None else max(0, self.limit - self.used)


def month_of(now: datetime) -> str:
    """``2026-11``"""
    return now.strftime("%Y-%m")


def usage(work: UnitOfWork, account: Account, plan: Plan, now: datetime) -> Usage:
    return Usage(work.quota.used(account.id, month_of(now)), plan.images_per_month)


def take(work: UnitOfWork, account: Account, plan: Plan, now: datetime, images: int = 1) -> None:
    """Raises QuotaExceeded, and takes nothing then."""
    if not work.quota.take(account.id, month_of(now), images, plan.images_per_month):
        raise QuotaExceeded


def give_back(work: UnitOfWork, image: Image) -> None:
    work.quota.give_back(image.account_id, image.quota_month, 1)
