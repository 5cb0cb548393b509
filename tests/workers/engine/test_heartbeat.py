from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from workers.engine import heartbeat
from workers.engine.heartbeat import heartbeats

if TYPE_CHECKING:
    import pytest


def test_heartbeats_stop_after_the_allowed_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beats: list[None] = []
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.001)
    monkeypatch.setattr(heartbeat, "ALLOWANCE_SECONDS", 0.002)

    with heartbeats(lambda: beats.append(None), int(0.0035 * heartbeat.PIXELS_PER_SECOND)):
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "heartbeat")
        thread.join(60)

    assert len(beats) == 5


def test_quick_step_sends_no_heartbeat() -> None:
    beats: list[None] = []

    with heartbeats(lambda: beats.append(None), 1):
        pass

    assert not beats
