"""Subscriptions: what an operator has said of an account's payment, and what that means today."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    TRIAL = "trial"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"


@dataclass(frozen=True)
class Subscription:
    """``status`` is the operator's word; what has ended since is lapsed, as ``at`` tells."""

    id: int
    status: SubscriptionStatus
    trial_ends_at: datetime | None
    ends_at: datetime | None
    created_at: datetime

    def at(self, now: datetime) -> SubscriptionStatus:
        """A cancelled one stays cancelled after its end: whether it still counts is ``is_active``."""
        over = any(end is not None and end <= now for end in (self.trial_ends_at, self.ends_at))
        if over and self.status is not SubscriptionStatus.CANCELLED:
            return SubscriptionStatus.LAPSED
        return self.status

    def is_active(self, now: datetime) -> bool:
        """Whether the plan is to be had."""
        return self.at(now) in {
            SubscriptionStatus.ACTIVE,
            SubscriptionStatus.TRIAL,
        } or self.is_on_grace_period(now)

    def is_on_grace_period(self, now: datetime) -> bool:
        """Cancelled, and paid for until an end that is still to come."""
        cancelled = self.status is SubscriptionStatus.CANCELLED
        return cancelled and self.ends_at is not None and self.ends_at > now
