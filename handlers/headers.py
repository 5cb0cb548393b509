"""Headers that tell a client where a created object is and when to poll it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.request import origin
from handlers.transport.contract import BASE_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

POLL_SECONDS = 2
"""Seconds until an image or batch is worth another request: most are completed a few seconds after their upload."""


def location(path: str) -> dict[str, str]:
    """Return ``Location`` with the absolute URL of this path below /api."""
    return {"Location": f"{origin()}{BASE_PATH}{path}"}


def poll_headers(*, finished: bool) -> Mapping[str, str]:
    """Return ``Retry-After`` for an object that is not finished; no header otherwise."""
    return {} if finished else {"Retry-After": str(POLL_SECONDS)}
