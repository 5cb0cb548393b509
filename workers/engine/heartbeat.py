"""Say that work goes on, during the steps of a job that have no tiles to count."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEAT_SECONDS = 5.0  # a small part of the time after which the supervisor takes silence for a hang

# The longest that a step may take and still be believed; the slowest we know, a lossless WebP, encodes some
# 900,000 pixels a second on a free processor, and this leaves room for a busy one.
ALLOWANCE_SECONDS = 60.0
PIXELS_PER_SECOND = 150_000


@contextmanager
def heartbeats(report: Callable[[], None], pixels: int) -> Iterator[None]:
    """Call ``report`` every few seconds during the block, from a thread, but no longer than so many pixels can take.

    After that the supervisor hears nothing any more, so that it finds what really hangs.
    """
    beats = int((ALLOWANCE_SECONDS + pixels / PIXELS_PER_SECOND) / BEAT_SECONDS)
    ended = threading.Event()

    def repeat() -> None:
        for _ in range(beats):
            if ended.wait(BEAT_SECONDS):
                return
            report()

    thread = threading.Thread(target=repeat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()  # so that nothing is said after a job's last word
