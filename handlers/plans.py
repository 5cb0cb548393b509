"""/plans: what accounts can be on."""

from __future__ import annotations

from handlers import shapes
from handlers.envelope import Body, success
from handlers.request import services


def list_plans() -> Body:
    return success("Plans retrieved successfully", [shapes.plan(plan) for plan in services().plans])
