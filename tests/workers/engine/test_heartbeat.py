from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from workers.engine import heartbeat
from workers.engine.heartbeat import still_working

if TYPE_CHECKING:
    import pytest


def test_a_step_that_hangs_falls_silent_after_what_its_pixels_can_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[None] = []
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.001)
    monkeypatch.setattr(heartbeat, "ALLOWANCE_SECONDS", 0.002)

    with still_working(lambda: said.append(None), int(0.0035 * heartbeat.PIXELS_PER_SECOND)):
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "heartbeat")
        thread.join(60)

    assert len(said) == 5


def test_a_quick_step_says_nothing() -> None:
    said: list[None] = []

    with still_working(lambda: said.append(None), 1):
        pass

    assert not said
