from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from domain import accounts, quota, subscriptions
from domain.errors import NotFound
from domain.plans import UNLIMITED, PlansError
from domain.records import Subscription, SubscriptionStatus

if TYPE_CHECKING:
    from domain.records import Account
    from domain.services import Services

ACTIVE, TRIAL, CANCELLED, LAPSED = SubscriptionStatus
HOUR = timedelta(hours=1)


def again(services: Services, account: Account) -> Account:
    """As it is now."""
    return accounts.named(services, account.email)


def subscription_of(services: Services, account: Account) -> Subscription:
    found = again(services, account).subscription
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("said", "end", "status", "active", "trial", "grace"),
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
def test_what_was_said_and_the_time_decide_where_a_subscription_stands(
    services: Services,
    account: Account,
    clock: Any,
    said: SubscriptionStatus,
    end: timedelta | None,
    status: SubscriptionStatus,
    active: bool,
    trial: bool,
    grace: bool,
) -> None:
    now = clock.now()
    subscriptions.set_status(services, account, said, None if end is None else now + end)

    found = subscription_of(services, account)

    assert found.at(now) is status
    assert (found.is_active(now), found.is_on_trial(now), found.is_on_grace_period(now)) == (
        active,
        trial,
        grace,
    )


@pytest.mark.parametrize("said", [ACTIVE, TRIAL, CANCELLED])
def test_the_moment_of_the_end_is_over(
    services: Services, account: Account, clock: Any, said: SubscriptionStatus
) -> None:
    end = clock.now() + HOUR
    subscriptions.set_status(services, account, said, end)
    found = subscription_of(services, account)

    assert found.is_active(end - timedelta(microseconds=1))
    assert not found.is_active(end)


def test_an_account_has_one_subscription_whatever_is_said_of_it(
    services: Services, account: Account, clock: Any
) -> None:
    subscriptions.set_status(services, account, TRIAL, clock.now() + HOUR)
    trial = subscription_of(services, account)
    clock.advance(HOUR / 2)
    subscriptions.set_status(services, account, ACTIVE)
    paid = subscription_of(services, account)

    assert (paid.id, paid.created_at) == (trial.id, trial.created_at)
    # The end of the trial would end what was paid for since.
    assert (paid.trial_ends_at, paid.ends_at) == (None, None)


def test_nobody_elses_subscription_is_touched(services: Services, make_account: Any) -> None:
    jane, other = make_account(), make_account()
    subscriptions.set_status(services, other, ACTIVE)
    subscriptions.change_plan(services, jane, "professional")
    subscriptions.set_status(services, jane, LAPSED)

    assert subscription_of(services, other).status is ACTIVE
    assert again(services, other).plan == "starter"


def test_a_plan_that_costs_something_comes_with_an_active_subscription(
    services: Services, make_account: Any, clock: Any
) -> None:
    account = make_account("free")
    clock.advance(HOUR)
    subscriptions.change_plan(services, account, "professional")

    found = again(services, account)
    assert found.plan == "professional"
    assert found.updated_at == clock.now()
    assert found.subscription is not None
    assert found.subscription.status is ACTIVE
    assert found.subscription.ends_at is None
    assert found.subscription.created_at == clock.now()


@pytest.mark.parametrize("said", [CANCELLED, LAPSED, TRIAL])
def test_paying_again_makes_a_subscription_active_without_an_end(
    services: Services, account: Account, clock: Any, said: SubscriptionStatus
) -> None:
    subscriptions.set_status(services, account, said, clock.now() - HOUR)
    subscriptions.change_plan(services, account, "enterprise")

    found = subscription_of(services, account)
    assert (found.status, found.ends_at, found.trial_ends_at) == (ACTIVE, None, None)


def test_a_plan_that_costs_nothing_cancels_what_still_runs(
    services: Services, account: Account, clock: Any
) -> None:
    subscriptions.set_status(services, account, ACTIVE)
    subscriptions.change_plan(services, again(services, account), "free")

    found = subscription_of(services, account)
    assert (found.status, found.ends_at) == (CANCELLED, clock.now())
    assert not found.is_active(clock.now())
    # Once is enough: the end is not moved by saying it again.
    ended = clock.now()
    clock.advance(HOUR)
    subscriptions.change_plan(services, again(services, account), "free")
    assert subscription_of(services, account).ends_at == ended


# The operator's two hands: what was read before the change may be old.
def test_a_plan_that_costs_nothing_cancels_what_began_to_run_meanwhile(
    services: Services, account: Account, clock: Any
) -> None:
    subscriptions.set_status(services, account, ACTIVE)
    subscriptions.change_plan(services, account, "free")

    found = subscription_of(services, account)
    assert (found.status, found.ends_at) == (CANCELLED, clock.now())


def test_a_change_of_plan_tells_what_there_was_before(
    services: Services, account: Account, clock: Any
) -> None:
    assert subscriptions.change_plan(services, account, "professional") is None
    end = clock.now() + HOUR
    subscriptions.set_status(services, account, CANCELLED, end)

    before = subscriptions.change_plan(services, account, "starter")

    assert before is not None
    assert (before.status, before.ends_at) == (CANCELLED, end)


def test_a_plan_that_costs_nothing_needs_no_subscription(services: Services, account: Account) -> None:
    subscriptions.change_plan(services, account, "free")
    assert again(services, account).subscription is None


def test_a_plan_that_there_is_not_changes_nothing(services: Services, account: Account) -> None:
    with pytest.raises(PlansError, match="There is no plan 'gold'; there are: free, "):
        subscriptions.change_plan(services, account, "gold")
    assert again(services, account) == account


def test_an_account_is_found_however_its_address_is_written(services: Services, make_account: Any) -> None:
    account = make_account(email="jane@example.com")
    assert accounts.named(services, "Jane@EXAMPLE.com") == account
    for unknown in ("nobody@example.com", "no address"):
        with pytest.raises(NotFound, match=f"no account for {unknown}"):
            accounts.named(services, unknown)


def test_a_quota_of_its_own_goes_before_that_of_the_plan_until_it_is_taken_back(
    services: Services, account: Account
) -> None:
    plan = services.plans["starter"]
    limits = []
    for own in (7, UNLIMITED, 0, None):
        quota.set_limit(services, account, own)
        limits.append(quota.limit_of(again(services, account), plan))
    assert limits == [7, None, 0, 25]


def test_plans_that_accounts_are_on_are_missed(
    services: Services, make_account: Any, make_services: Any
) -> None:
    accounts.require_plans(services.database, services.plans)
    for plan in ("starter", "enterprise", "enterprise"):
        make_account(plan)
    fewer = [plan for plan in services.plans if plan.slug in {"free", "starter"}]

    accounts.require_plans(services.database, services.plans)
    with pytest.raises(PlansError, match=r"'enterprise' \(accounts: 2\)"):
        accounts.require_plans(services.database, type(services.plans)(fewer))
