"""Heartbeats during the steps of a job that have no tiles to count."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEAT_SECONDS = 5.0  # a small part of the silence that the parent process treats as a hang

# The longest time that a step may take: the slowest known one, a lossless WebP, encodes about 900,000 pixels
# a second on an idle processor, and these values leave room for a busy one.
ALLOWANCE_SECONDS = 60.0
PIXELS_PER_SECOND = 150_000


@contextmanager
def heartbeats(report: Callable[[], None], pixels: int) -> Iterator[None]:
    """Call ``report`` every few seconds during the block, from a thread, for as long as the pixels can need.

    After that no heartbeat follows, so that the parent process detects a step that hangs.
    """
    beats = int((ALLOWANCE_SECONDS + pixels / PIXELS_PER_SECOND) / BEAT_SECONDS)
    ended = threading.Event()

    def repeat() -> None:
        """Call ``report`` every ``BEAT_SECONDS``, at most ``beats`` times, until the end."""
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
        thread.join()  # so that no heartbeat follows a job's final message
