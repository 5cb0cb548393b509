"""The limits of an account's plan, as far as the server publishes them."""

from __future__ import annotations

from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any

from conformance.verdicts import Inconclusive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.client import Client, Response
    from conformance.images.samples import Sample

LARGEST_FACTOR = 4  # the largest factor that the kit requests


def max_factor(client: Client) -> float | None:
    """GET /subscription and return the largest factor of the plan: infinity for null, None if not published.

    Another status, or no whole number at its place, counts as not published. Raise CheckFailed for a 200
    without `data`, and Inconclusive without a response.
    """
    response = client.get("/subscription")
    data: Any = response.data if response.status == HTTPStatus.OK else None
    plan = data.get("plan") if isinstance(data, dict) else None
    limits = plan.get("limits") if isinstance(plan, dict) else None
    for limit in limits if isinstance(limits, list) else []:
        if isinstance(limit, dict) and limit.get("name") == "max_scale" and "value" in limit:
            value = limit["value"]
            if value is None:
                return inf
            return value if isinstance(value, int) else None
    return None


def requested_factor(fields: Mapping[str, object], size: tuple[int, int]) -> float:
    """Return the factor by which an upload with these fields enlarges an image of this size in pixels.

    The larger one of both target sides counts; without them ``scale_factor``, by default 2. Raise ValueError
    for text that is not a number.
    """
    sides = zip(("target_width", "target_height"), size, strict=True)
    targets = [int(str(fields[name])) / side for name, side in sides if fields.get(name)]
    return max(targets) if targets else float(str(fields.get("scale_factor") or 2))


def expect_within_plan(
    response: Response, samples: Sequence[Sample], fields: Mapping[str, object], client: Client
) -> None:
    """Raise Inconclusive if the response is a 422 and the upload exceeds the largest factor of the plan.

    Send GET /subscription after a 422; an unpublished plan allows everything.
    """
    if response.status != HTTPStatus.UNPROCESSABLE_ENTITY:
        return
    requested = max((requested_factor(fields, sample.image.size) for sample in samples), default=0)
    largest = max_factor(client)
    if largest is not None and requested > largest:
        raise Inconclusive(
            f"{response.request_line} returned 422, and the account's plan enlarges by at most {largest:.0f}. Use a "
            f"token of an account whose plan enlarges by {LARGEST_FACTOR}."
        )
