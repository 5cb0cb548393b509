"""/subscription, and what an account may still do in each of its states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from domain import quota, subscriptions
from domain.plans import UNLIMITED
from domain.records import SubscriptionStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.handlers.conftest import Client, MakePerson, Person, Server

    Say = Callable[..., str | None]

ACTIVE, TRIAL, CANCELLED, LAPSED = SubscriptionStatus
SUBSCRIPTION = "/api/subscription"
DAY = timedelta(days=1)


@pytest.fixture
def say(server: Server) -> Say:
    """What an operator does in a process of his own: ``say(person, status, end)``; the end as the API writes it."""

    def say(person: Person, status: SubscriptionStatus, after: timedelta | None = None) -> str | None:
        end = None if after is None else datetime.now(UTC) + after
        subscriptions.set_status(server.services, person.account, status, end)
        return None if end is None else end.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    return say


def test_an_account_that_never_had_a_subscription_has_none(client: Client, person: MakePerson) -> None:
    reply = client.get(SUBSCRIPTION, token=person(plan="starter").token)

    assert (reply.status, reply.message) == (200, "Subscription details retrieved successfully")
    assert reply.data == {
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


def test_a_registered_account_has_none_either(client: Client, server: Server) -> None:
    form = {"name": "J", "email": "never@example.com", "password": "Correct-Horse-9"}
    form["password_confirmation"] = form["password"]
    token = client.post("/api/auth/register", json=form).data["token"]

    assert client.get(SUBSCRIPTION, token=token).data["subscription"] is None


def test_an_active_subscription_is_as_documented(client: Client, jane: Person, say: Say) -> None:
    say(jane, ACTIVE)

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
    ("said", "after", "status", "true", "end"),
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
def test_each_state_has_its_fields_and_decides_about_images(
    client: Client,
    jane: Person,
    say: Say,
    png: bytes,
    said: SubscriptionStatus,
    after: timedelta,
    status: str,
    true: set[str],
    end: str,
) -> None:
    ends_at = say(jane, said, after)

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


def test_the_next_request_after_the_operators_word_is_answered_by_it(
    client: Client, jane: Person, say: Say
) -> None:
    statuses = []
    for said in (LAPSED, ACTIVE, CANCELLED, ACTIVE):
        say(jane, said)
        statuses.append(client.get("/api/images", token=jane.token).status)

    assert statuses == [403, 200, 403, 200]


def test_a_lapsed_account_can_still_be_read(client: Client, jane: Person, say: Say) -> None:
    say(jane, LAPSED)

    for path in (SUBSCRIPTION, "/api/user", "/api/usage", "/api/user/tokens"):
        assert client.get(path, token=jane.token).status == 200
    for method, path in (
        ("GET", "/api/images"),
        ("GET", "/api/images/1"),
        ("DELETE", "/api/images/1"),
        ("GET", "/api/images/1/download"),
    ):
        reply = client.request(method, path, token=jane.token)
        assert (reply.status, reply.message) == (403, "Your subscription has lapsed.")


def test_a_plan_that_costs_nothing_cannot_lapse(client: Client, person: MakePerson, say: Say) -> None:
    free = person(plan="free")
    say(free, LAPSED)

    assert client.get("/api/images", token=free.token).message == "Your plan does not include API access."


def test_a_changed_plan_holds_from_the_next_request_on(
    client: Client, server: Server, person: MakePerson
) -> None:
    free = person(plan="free")
    assert client.get("/api/images", token=free.token).message == "Your plan does not include API access."

    subscriptions.change_plan(server.services, free.account, "professional")

    assert client.get("/api/images", token=free.token).status == 200
    data = client.get(SUBSCRIPTION, token=free.token).data
    assert (data["plan"]["slug"], data["subscription"]["status"]) == ("professional", "active")
    assert client.get("/api/user", token=free.token).data["pricing_plan"]["slug"] == "professional"


@pytest.mark.parametrize(("own", "shown"), [(2, 2), (UNLIMITED, None), (0, 0), (None, 25)])
def test_a_quota_of_ones_own_is_shown_everywhere_and_kept(
    client: Client, server: Server, person: MakePerson, png: bytes, own: int | None, shown: int | None
) -> None:
    starter = person(plan="starter")
    quota.set_limit(server.services, starter.account, own)
    allowed = 3 if shown is None else min(shown, 3)

    answers = [client.upload(starter.token, png) for _ in range(3)]

    assert [reply.status for reply in answers] == [202] * allowed + [403] * (3 - allowed)
    assert {reply.message for reply in answers[allowed:]} <= {"Your monthly image quota is exceeded."}
    limit = "unlimited" if shown is None else str(shown)
    assert {reply.headers["X-RateLimit-Limit"] for reply in answers} == {limit}
    limits = client.get(SUBSCRIPTION, token=starter.token).data["plan"]["limits"]
    assert {"name": "images_per_month", "value": shown} in limits
    assert client.get("/api/usage", token=starter.token).data["image_uploads"]["limit"] == shown
    assert {"name": "images_per_month", "value": 25} in client.get("/api/plans").data[1]["limits"]


def test_it_can_be_read_on_every_plan_and_before_the_address_is_verified(
    client: Client, person: MakePerson
) -> None:
    assert client.get(SUBSCRIPTION, token=person(verified=False, plan="free").token).status == 200


def test_it_needs_a_token_that_may_read_the_account(client: Client, person: MakePerson) -> None:
    assert client.get(SUBSCRIPTION).status == 401
    assert client.get(SUBSCRIPTION, token=person(abilities=["images:read"]).token).status == 403


# An operator may name any moment, and the contract has one form for all of them.
def test_a_moment_long_ago_is_written_like_any_other(client: Client, server: Server, jane: Person) -> None:
    subscriptions.set_status(server.services, jane.account, CANCELLED, datetime(1, 2, 3, tzinfo=UTC))

    shown = client.get(SUBSCRIPTION, token=jane.token).data["subscription"]

    assert shown["ends_at"] == "0001-02-03T00:00:00.000000Z"
