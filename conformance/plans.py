"""What the account's plan allows, as far as the server tells."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.client import Client

OK = 200


def largest_factor(client: Client) -> float | None:
    """By how much a side may grow; infinity where nothing limits it, and None where the server does not tell."""
    answer = client.get("/subscription")
    plan: Any = answer.data.get("plan") if answer.status == OK else None
    limits = plan.get("limits") if isinstance(plan, dict) else None
    for limit in limits if isinstance(limits, list) else []:
        if isinstance(limit, dict) and limit.get("name") == "max_scale" and "value" in limit:
            value = limit["value"]
            if value is None:
                return inf
            return value if isinstance(value, int) else None
    return None
