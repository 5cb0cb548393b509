"""The operator's changes to an account's plan and subscription."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import NotFound
from domain.records import SubscriptionStatus

if TYPE_CHECKING:
    from datetime import datetime

    from domain.records import Account, Subscription
    from domain.services import Services


def change_plan(services: Services, account: Account, slug: str) -> Subscription | None:
    """Set the account's plan and return the subscription that the account had before.

    A paid plan gets an active subscription without an end, also if the previous one was cancelled or on trial. For a
    free plan, an active subscription is cancelled and ends now. Raise PlansError if there is no such plan, and
    NotFound if the account was deleted.
    """
    plan, now = services.plans[slug], services.clock.now()
    with services.database.writing() as work:
        work.accounts.lock(account.id)
        current = work.accounts.get(account.id)  # the account may have changed since the caller read it
        if current is None:
            raise NotFound
        work.accounts.set_plan(account.id, plan.slug, now)
        if not plan.is_free:
            work.subscriptions.put(account.id, SubscriptionStatus.ACTIVE, now=now)
        elif current.subscription is not None and current.subscription.is_active(now):
            work.subscriptions.put(account.id, SubscriptionStatus.CANCELLED, ends_at=now, now=now)
        work.commit()
    return current.subscription


def set_status(
    services: Services, account: Account, status: SubscriptionStatus, end: datetime | None = None
) -> None:
    """Set the status of the account's subscription; an account without a subscription gets one.

    ``end`` is the end of the trial or of the subscription; without it, a cancelled or lapsed one ends now, an
    active one and a trial have no end. Earlier end dates are replaced. The account's plan does not change.
    """
    now = services.clock.now()
    trial_ends_at = ends_at = None
    match status:
        case SubscriptionStatus.TRIAL:
            trial_ends_at = end
        case SubscriptionStatus.ACTIVE:
            ends_at = end
        case SubscriptionStatus.CANCELLED | SubscriptionStatus.LAPSED:
            ends_at = end or now
    with services.database.writing() as work:
        work.accounts.lock(account.id)
        work.subscriptions.put(account.id, status, trial_ends_at=trial_ends_at, ends_at=ends_at, now=now)
        work.commit()
