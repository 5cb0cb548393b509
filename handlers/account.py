"""/user: who am I."""

from __future__ import annotations

from handlers import shapes
from handlers.envelope import Body, success
from handlers.request import origin, principal, services


def get_user() -> Body:
    account = principal().account
    return success(
        "User retrieved successfully", shapes.user(origin(), account, services().plans[account.plan])
    )
