"""Tests of /subscription, and of access to images in each state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from domain import quota, subscriptions
from domain.plans import UNLIMITED
from domain.records import SubscriptionStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.handlers.conftest import Client, MakeUser, Server, User

    SetStatus = Callable[..., str | None]

ACTIVE, TRIAL, CANCELLED, LAPSED = SubscriptionStatus
SUBSCRIPTION = "/api/subscription"
DAY = timedelta(days=1)


@pytest.fixture
def set_status(server: Server) -> SetStatus:
    """Return a function that sets status and end like the operator's command; it returns the end in the API's format."""

    def set_status(user: User, status: SubscriptionStatus, after: timedelta | None = None) -> str | None:
        end = None if after is None else datetime.now(UTC) + after
        subscriptions.set_status(server.services, user.account, status, end)
        return None if end is None else end.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    return set_status


def test_account_without_subscription_returns_null(client: Client, make_user: MakeUser) -> None:
    response = client.get(SUBSCRIPTION, token=make_user(plan="starter").token)

    assert (response.status, response.message) == (200, "Subscription details retrieved successfully")
    assert response.data == {
        "subscription": None,
        "plan": {
            "name": "Starter",
            "slug": "starter",
            "price": 9,
            "features": ["api_access", "priority_support"],
            "limits": [
                {"name": "requests_per_hour", "value": 500},
                {"name": "images_per_month", "value": 25},
                {"name": "max_scale", "value": 4},
            ],
        },
    }


def test_registered_account_has_no_subscription(client: Client, server: Server) -> None:
    form = {"name": "J", "email": "never@example.com", "password": "Correct-Horse-9"}
    form["password_confirmation"] = form["password"]
    token = client.post("/api/auth/register", json=form).data["token"]

    assert client.get(SUBSCRIPTION, token=token).data["subscription"] is None


def test_active_subscription_has_its_fields(client: Client, jane: User, set_status: SetStatus) -> None:
    set_status(jane, ACTIVE)

    shown = client.get(SUBSCRIPTION, token=jane.token).data["subscription"]

    assert shown.pop("id") >= 1
    assert shown.pop("created_at") > "2026"
    assert shown == {
        "type": "default",
        "status": "active",
        "quantity": 1,
        "trial_ends_at": None,
        "ends_at": None,
        "is_active": True,
        "is_on_trial": False,
        "is_cancelled": False,
        "is_on_grace_period": False,
    }


@pytest.mark.parametrize(
    ("given", "after", "status", "true", "end"),
    [
        (TRIAL, DAY, "trial", {"is_active", "is_on_trial"}, "trial_ends_at"),
        (TRIAL, -DAY, "lapsed", set(), "trial_ends_at"),
        (CANCELLED, DAY, "cancelled", {"is_active", "is_cancelled", "is_on_grace_period"}, "ends_at"),
        (CANCELLED, -DAY, "cancelled", {"is_cancelled"}, "ends_at"),
        (LAPSED, -DAY, "lapsed", set(), "ends_at"),
        (ACTIVE, DAY, "active", {"is_active"}, "ends_at"),
        (ACTIVE, -DAY, "lapsed", set(), "ends_at"),
    ],
)
def test_state_decides_fields_and_access_to_images(
    client: Client,
    jane: User,
    set_status: SetStatus,
    png: bytes,
    given: SubscriptionStatus,
    after: timedelta,
    status: str,
    true: set[str],
    end: str,
) -> None:
    ends_at = set_status(jane, given, after)

    shown = client.get(SUBSCRIPTION, token=jane.token).data["subscription"]
    upload = client.upload(jane.token, png)

    assert shown["status"] == status
    assert {field for field, value in shown.items() if value is True} == true
    assert {field: shown[field] for field in ("trial_ends_at", "ends_at")} == {
        "trial_ends_at": None,
        "ends_at": None,
        end: ends_at,
    }
    if "is_active" in true:
        assert upload.status == 202
    else:
        assert (upload.status, upload.message) == (403, "Your subscription has lapsed.")


def test_changed_status_applies_to_the_next_request(
    client: Client, jane: User, set_status: SetStatus
) -> None:
    statuses = []
    for given in (LAPSED, ACTIVE, CANCELLED, ACTIVE):
        set_status(jane, given)
        statuses.append(client.get("/api/images", token=jane.token).status)

    assert statuses == [403, 200, 403, 200]


def test_lapsed_account_is_still_readable(client: Client, jane: User, set_status: SetStatus) -> None:
    set_status(jane, LAPSED)

    for path in (SUBSCRIPTION, "/api/user", "/api/usage", "/api/user/tokens"):
        assert client.get(path, token=jane.token).status == 200
    for method, path in (
        ("GET", "/api/images"),
        ("GET", "/api/images/1"),
        ("DELETE", "/api/images/1"),
        ("GET", "/api/images/1/download"),
    ):
        response = client.request(method, path, token=jane.token)
        assert (response.status, response.message) == (403, "Your subscription has lapsed.")


def test_free_plan_cannot_lapse(client: Client, make_user: MakeUser, set_status: SetStatus) -> None:
    free = make_user(plan="free")
    set_status(free, LAPSED)

    assert client.get("/api/images", token=free.token).message == "Your plan does not include API access."


def test_changed_plan_applies_to_the_next_request(
    client: Client, server: Server, make_user: MakeUser
) -> None:
    free = make_user(plan="free")
    assert client.get("/api/images", token=free.token).message == "Your plan does not include API access."

    subscriptions.change_plan(server.services, free.account, "professional")

    assert client.get("/api/images", token=free.token).status == 200
    data = client.get(SUBSCRIPTION, token=free.token).data
    assert (data["plan"]["slug"], data["subscription"]["status"]) == ("professional", "active")
    assert client.get("/api/user", token=free.token).data["pricing_plan"]["slug"] == "professional"


@pytest.mark.parametrize(("own", "shown"), [(2, 2), (UNLIMITED, None), (0, 0), (None, 25)])
def test_own_quota_is_shown_and_enforced(
    client: Client, server: Server, make_user: MakeUser, png: bytes, own: int | None, shown: int | None
) -> None:
    starter = make_user(plan="starter")
    quota.set_limit(server.services, starter.account, own)
    allowed = 3 if shown is None else min(shown, 3)

    results = [client.upload(starter.token, png) for _ in range(3)]

    assert [response.status for response in results] == [202] * allowed + [403] * (3 - allowed)
    assert {response.message for response in results[allowed:]} <= {"Your monthly image quota is exceeded."}
    limit = None if shown is None else str(shown)
    assert {response.headers.get("X-RateLimit-Limit") for response in results} == {limit}
    assert {"X-RateLimit-Remaining" in response.headers for response in results} == {limit is not None}
    limits = client.get(SUBSCRIPTION, token=starter.token).data["plan"]["limits"]
    assert {"name": "images_per_month", "value": shown} in limits
    assert client.get("/api/usage", token=starter.token).data["image_uploads"]["limit"] == shown
    assert {"name": "images_per_month", "value": 25} in client.get("/api/plans").data[1]["limits"]


def test_subscription_is_readable_on_every_plan_and_unverified(client: Client, make_user: MakeUser) -> None:
    assert client.get(SUBSCRIPTION, token=make_user(verified=False, plan="free").token).status == 200


def test_subscription_needs_user_read(client: Client, make_user: MakeUser) -> None:
    assert client.get(SUBSCRIPTION).status == 401
    assert client.get(SUBSCRIPTION, token=make_user(abilities=["images:read"]).token).status == 403


# An operator may set any time, and the contract has one format.
def test_end_in_year_one_has_the_usual_format(client: Client, server: Server, jane: User) -> None:
    subscriptions.set_status(server.services, jane.account, CANCELLED, datetime(1, 2, 3, tzinfo=UTC))

    shown = client.get(SUBSCRIPTION, token=jane.token).data["subscription"]

    assert shown["ends_at"] == "0001-02-03T00:00:00.000000Z"
