from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from domain import authorization
from domain.errors import (
    AbilityMissing,
    ApiAccessMissing,
    BatchesMissing,
    EmailNotVerified,
    SubscriptionLapsed,
)
from domain.records import Principal

if TYPE_CHECKING:
    from domain.database.unit_of_work import Database
    from domain.services import Services

_CURRENT = "subscription:current"


@pytest.mark.parametrize(
    ("plan", "verified", "expected"),
    [
        ("free", False, [_CURRENT]),
        ("free", True, ["account:verified", _CURRENT]),
        ("starter", True, ["account:verified", _CURRENT, "plan:api_access", "plan:priority_support"]),
        ("starter", False, [_CURRENT, "plan:api_access", "plan:priority_support"]),
        (
            "professional",
            True,
            ["account:verified", _CURRENT, "plan:api_access", "plan:batches", "plan:priority_support"],
        ),
    ],
)
def test_scopes_are_abilities_verification_and_plan_features(
    services: Services, make_account: Any, database: Database, plan: str, verified: bool, expected: list[str]
) -> None:
    account = make_account(plan, verified=verified)
    with database.reading() as work:
        found = work.tokens.with_account(1)
    assert found is not None
    principal = Principal(account, replace(found[0], abilities=("images:read",)))
    assert authorization.granted_scopes(services, principal) == ["images:read", *expected]


# Requirements are checked in the contract's order.
@pytest.mark.parametrize(
    ("granted", "denial"),
    [
        ([], AbilityMissing),
        (["account:verified", _CURRENT, "plan:api_access", "plan:batches"], AbilityMissing),
        (["images:read"], EmailNotVerified),
        (["images:read", _CURRENT, "plan:api_access", "plan:batches"], EmailNotVerified),
        (["images:read", "account:verified"], SubscriptionLapsed),
        (["images:read", "account:verified", "plan:api_access", "plan:batches"], SubscriptionLapsed),
        (["images:read", "account:verified", _CURRENT], ApiAccessMissing),
        (["images:read", "account:verified", _CURRENT, "plan:batches"], ApiAccessMissing),
        (["images:read", "account:verified", _CURRENT, "plan:api_access"], BatchesMissing),
    ],
)
def test_first_missing_requirement_decides_the_denial(granted: list[str], denial: type[Exception]) -> None:
    required = ["images:read", "account:verified", _CURRENT, "plan:api_access", "plan:batches"]
    assert type(authorization.denial_for(required, granted)) is denial
