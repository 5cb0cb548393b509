from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from domain import accounts, quota, subscriptions
from domain.plans import UNLIMITED, PlansError
from domain.records import Subscription, SubscriptionStatus

if TYPE_CHECKING:
    from domain.records import Account
    from domain.services import Services

ACTIVE, TRIAL, CANCELLED, LAPSED = SubscriptionStatus
HOUR = timedelta(hours=1)


def reload(services: Services, account: Account) -> Account:
    """Return the account as it is now."""
    return accounts.get_by_email(services, account.email)


def subscription_of(services: Services, account: Account) -> Subscription:
    found = reload(services, account).subscription
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("assigned", "end", "status", "active", "trial", "grace"),
    [
        (ACTIVE, None, ACTIVE, True, False, False),
        (ACTIVE, HOUR, ACTIVE, True, False, False),
        (ACTIVE, -HOUR, LAPSED, False, False, False),
        (TRIAL, HOUR, TRIAL, True, True, False),
        (TRIAL, -HOUR, LAPSED, False, False, False),
        (CANCELLED, HOUR, CANCELLED, True, False, True),
        (CANCELLED, -HOUR, CANCELLED, False, False, False),
        (CANCELLED, None, CANCELLED, False, False, False),
        (LAPSED, None, LAPSED, False, False, False),
        (LAPSED, -HOUR, LAPSED, False, False, False),
    ],
)
def test_status_follows_from_assigned_status_and_time(
    services: Services,
    account: Account,
    clock: Any,
    assigned: SubscriptionStatus,
    end: timedelta | None,
    status: SubscriptionStatus,
    active: bool,
    trial: bool,
    grace: bool,
) -> None:
    now = clock.now()
    subscriptions.set_status(services, account, assigned, None if end is None else now + end)

    found = subscription_of(services, account)

    assert found.status_at(now) is status
    assert (found.is_active(now), found.is_on_trial(now), found.is_on_grace_period(now)) == (
        active,
        trial,
        grace,
    )


@pytest.mark.parametrize("assigned", [ACTIVE, TRIAL, CANCELLED])
def test_subscription_is_inactive_from_its_end_on(
    services: Services, account: Account, clock: Any, assigned: SubscriptionStatus
) -> None:
    end = clock.now() + HOUR
    subscriptions.set_status(services, account, assigned, end)
    found = subscription_of(services, account)

    assert found.is_active(end - timedelta(microseconds=1))
    assert not found.is_active(end)


def test_changed_status_keeps_one_subscription(services: Services, account: Account, clock: Any) -> None:
    subscriptions.set_status(services, account, TRIAL, clock.now() + HOUR)
    trial = subscription_of(services, account)
    clock.advance(HOUR / 2)
    subscriptions.set_status(services, account, ACTIVE)
    paid = subscription_of(services, account)

    assert (paid.id, paid.created_at) == (trial.id, trial.created_at)
    # The end of the trial would otherwise end the paid subscription.
    assert (paid.trial_ends_at, paid.ends_at) == (None, None)


def test_other_accounts_subscription_is_unchanged(services: Services, make_account: Any) -> None:
    jane, other = make_account(), make_account()
    subscriptions.set_status(services, other, ACTIVE)
    subscriptions.change_plan(services, jane, "professional")
    subscriptions.set_status(services, jane, LAPSED)

    assert subscription_of(services, other).status is ACTIVE
    assert reload(services, other).plan == "starter"


def test_paid_plan_creates_an_active_subscription(services: Services, make_account: Any, clock: Any) -> None:
    account = make_account("free")
    clock.advance(HOUR)
    subscriptions.change_plan(services, account, "professional")

    found = reload(services, account)
    assert found.plan == "professional"
    assert found.updated_at == clock.now()
    assert found.subscription is not None
    assert found.subscription.status is ACTIVE
    assert found.subscription.ends_at is None
    assert found.subscription.created_at == clock.now()


@pytest.mark.parametrize("assigned", [CANCELLED, LAPSED, TRIAL])
def test_paid_plan_reactivates_a_subscription_without_end(
    services: Services, account: Account, clock: Any, assigned: SubscriptionStatus
) -> None:
    subscriptions.set_status(services, account, assigned, clock.now() - HOUR)
    subscriptions.change_plan(services, account, "enterprise")

    found = subscription_of(services, account)
    assert (found.status, found.ends_at, found.trial_ends_at) == (ACTIVE, None, None)


def test_free_plan_cancels_an_active_subscription(services: Services, account: Account, clock: Any) -> None:
    subscriptions.set_status(services, account, ACTIVE)
    subscriptions.change_plan(services, reload(services, account), "free")

    found = subscription_of(services, account)
    assert (found.status, found.ends_at) == (CANCELLED, clock.now())
    assert not found.is_active(clock.now())
    # A second change to the free plan does not move the end.
    ended = clock.now()
    clock.advance(HOUR)
    subscriptions.change_plan(services, reload(services, account), "free")
    assert subscription_of(services, account).ends_at == ended


# The account that the caller read previous the change may be outdated.
def test_free_plan_cancels_a_subscription_started_meanwhile(
    services: Services, account: Account, clock: Any
) -> None:
    subscriptions.set_status(services, account, ACTIVE)
    subscriptions.change_plan(services, account, "free")

    found = subscription_of(services, account)
    assert (found.status, found.ends_at) == (CANCELLED, clock.now())


def test_change_plan_returns_the_previous_subscription(
    services: Services, account: Account, clock: Any
) -> None:
    assert subscriptions.change_plan(services, account, "professional") is None
    end = clock.now() + HOUR
    subscriptions.set_status(services, account, CANCELLED, end)

    previous = subscriptions.change_plan(services, account, "starter")

    assert previous is not None
    assert (previous.status, previous.ends_at) == (CANCELLED, end)


def test_free_plan_creates_no_subscription(services: Services, account: Account) -> None:
    subscriptions.change_plan(services, account, "free")
    assert reload(services, account).subscription is None


def test_unknown_plan_changes_nothing(services: Services, account: Account) -> None:
    with pytest.raises(PlansError, match="There is no plan 'gold'; there are: free, "):
        subscriptions.change_plan(services, account, "gold")
    assert reload(services, account) == account


def test_accounts_own_quota_overrides_that_of_the_plan(services: Services, account: Account) -> None:
    plan = services.plans["starter"]
    limits = []
    for own in (7, UNLIMITED, 0, None):
        quota.set_limit(services, account, own)
        limits.append(quota.limit_of(reload(services, account), plan))
    assert limits == [7, None, 0, 25]
