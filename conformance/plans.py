"""What the account's plan allows, as far as the server tells."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.client import Client

OK = 200


def largest_factor(client: Client) -> float | None:
    """By how much a side may grow; infinity where nothing limits it, and None where the server does not tell."""
    answer = client.get("/subscription")
    data: Any = answer.data if answer.status == OK else None
    plan = data.get("plan") if isinstance(data, dict) else None
    limits = plan.get("limits") if isinstance(plan, dict) else None
    for limit in limits if isinstance(limits, list) else []:
        if isinstance(limit, dict) and limit.get("name") == "max_scale" and "value" in limit:
            value = limit["value"]
            if value is None:
                return inf
            return value if isinstance(value, int) else None
    return None


def factor_asked(fields: Mapping[str, object], size: tuple[int, int]) -> float:
    """By how much an upload with these fields enlarges a picture of that size, in its longer way."""
    sides = zip(("target_width", "target_height"), size, strict=True)
    targets = [int(str(fields[name])) / side for name, side in sides if fields.get(name)]
    return max(targets) if targets else float(str(fields.get("scale_factor") or 2))
