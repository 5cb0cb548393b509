"""Subscriptions: what an operator says of an account's payment, and what that means today."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import NotFound
from domain.records import SubscriptionStatus

if TYPE_CHECKING:
    from datetime import datetime

    from domain.records import Account, Subscription
    from domain.services import Services


def change_plan(services: Services, account: Account, slug: str) -> Subscription | None:
    """Puts the account on the plan, from the next request on; the subscription that it had until then.

    A plan that costs something comes with an active subscription without an end, also where one was cancelled or
    on trial. One that costs nothing needs none: what was still running is cancelled, and over.
    Raises PlansError for a slug that there is not, NotFound for an account that is gone.
    """
    plan, now = services.plans[slug], services.clock.now()
    with services.database.writing() as work:
        work.accounts.lock(account.id)
        current = work.accounts.get(account.id)  # what the caller read may have been changed since
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
    """What the operator says holds from the next request on; an account without a subscription gets one.

    ``end`` is the end of the trial, or of the subscription; without one, what is cancelled or lapsed ends now.
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
