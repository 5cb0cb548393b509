"""Authorization: the scopes that an account and its token have, and the error for a missing one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import (
    AbilityMissing,
    ApiAccessMissing,
    BatchesMissing,
    Denied,
    EmailNotVerified,
    SubscriptionLapsed,
)
from domain.plans import API_ACCESS, BATCHES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from domain.records import Principal
    from domain.services import Services

_EMAIL_VERIFIED = "account:verified"
_SUBSCRIPTION_CURRENT = "subscription:current"
_DENIALS: Mapping[str, type[Denied]] = {
    _EMAIL_VERIFIED: EmailNotVerified,
    _SUBSCRIPTION_CURRENT: SubscriptionLapsed,
    f"plan:{API_ACCESS}": ApiAccessMissing,
    f"plan:{BATCHES}": BatchesMissing,
}
"""The error for each missing scope that is not an ability of a token."""


def granted_scopes(services: Services, principal: Principal) -> list[str]:
    """Return the scopes of the contract's security requirements that the principal has, in no fixed order.

    These are the token's abilities; ``account:verified`` if the address is verified; ``subscription:current`` unless
    a paid plan has a subscription that is not active now; and ``plan:<feature>`` for each feature of the plan. Raise
    KeyError if the account's plan is not among the configured plans.
    """
    account = principal.account
    plan, subscription = services.plans[account.plan], account.subscription
    scopes = list(principal.token.abilities)
    if account.email_verified_at is not None:
        scopes.append(_EMAIL_VERIFIED)
    # A free plan, or a plan that the operator assigned without a subscription, cannot lapse.
    if plan.is_free or subscription is None or subscription.is_active(services.clock.now()):
        scopes.append(_SUBSCRIPTION_CURRENT)
    scopes += [f"plan:{feature}" for feature in plan.features]
    return scopes


def denial_for(required: Iterable[str], granted: Iterable[str]) -> Denied:
    """Return the error for the first required scope that is not granted; at least one must be missing."""
    granted = set(granted)
    missing = next(scope for scope in required if scope not in granted)
    return _DENIALS.get(missing, AbilityMissing)()
