"""Tests of /plans."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from domain.plans import Plans

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.handlers.conftest import Client, InProcessClient, Server, User


def test_plans_are_public_with_their_limits(client: Client) -> None:
    response = client.get("/api/plans")

    assert (response.status, response.message) == (200, "Plans retrieved successfully")
    assert response.json.keys() == {"success", "message", "data"}
    assert [(plan["id"], plan["slug"]) for plan in response.data] == [
        (1, "free"),
        (2, "starter"),
        (3, "professional"),
        (4, "enterprise"),
    ]
    assert response.data[1] == {
        "id": 2,
        "name": "Starter",
        "slug": "starter",
        "price": 9,
        "features": ["api_access", "priority_support"],
        "limits": [
            {"name": "requests_per_hour", "value": 500},
            {"name": "images_per_month", "value": 25},
            {"name": "max_scale", "value": 4},
        ],
    }


@pytest.mark.parametrize("token", [None, "wrong", ""])
def test_invalid_token_is_ignored(client: Client, token: str | None) -> None:
    assert client.get("/api/plans", token=token).status == 200


def test_plan_of_an_account_is_in_the_list(client: Client, jane: User) -> None:
    plan = client.get("/api/user", token=jane.token).data["pricing_plan"]

    listed = [{name: each[name] for name in ("id", "name", "slug")} for each in client.get("/api/plans").data]
    assert plan in listed


def test_unlimited_is_null_and_the_order_is_configured(
    server: Server, in_process: Callable[..., InProcessClient]
) -> None:
    starter, enterprise = (server.services.plans[slug] for slug in ("starter", "enterprise"))
    plans = Plans([replace(enterprise, images_per_month=None, price=99.5), starter])

    first, second = in_process(replace(server.services, plans=plans)).request("GET", "/api/plans").data

    assert (first["slug"], second["slug"]) == ("enterprise", "starter")
    assert first["price"] == 99.5
    assert {"name": "images_per_month", "value": None} in first["limits"]


def test_other_methods_return_405(client: Client) -> None:
    response = client.post("/api/plans", json={})

    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
