"""Repeated requests until a condition holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0


def poll(
    fetch: Callable[[], T],
    until: Callable[[T], object],
    *,
    timeout_seconds: float,
    growth: float = 1.5,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
) -> T:
    """Return the first value for which ``until`` is true, or else the value fetched after the timeout.

    The pause between two fetches starts at 0.05 s and is multiplied by ``growth`` each time, up to
    ``longest_pause_seconds``. What ``fetch`` raises passes through; a timeout is no error.
    """
    deadline = time.monotonic() + timeout_seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        value = fetch()
        if until(value) or time.monotonic() > deadline:
            return value
        time.sleep(pause)
        pause = min(pause * growth, longest_pause_seconds)
