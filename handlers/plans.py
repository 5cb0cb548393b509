"""Operation of /plans."""

from __future__ import annotations

from handlers import shapes
from handlers.request import services
from handlers.transport.envelope import Body, success


def list_plans() -> Body:
    """Respond with all plans."""
    return success("Plans retrieved successfully", [shapes.plan(plan) for plan in services().plans])
