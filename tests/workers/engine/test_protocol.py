from __future__ import annotations

from pathlib import Path

from domain.sizing import Caps, Sizing
from workers.engine.protocol import EngineJob, from_line, job_from_message, job_to_message, to_line


def test_job_message_roundtrip() -> None:
    job = EngineJob(
        Path("/in"), Path("/out"), Sizing(target_width=7), Caps(max_side=9, max_pixels=81), "anime"
    )

    assert job_from_message(from_line(to_line(job_to_message(job)))) == job


def test_job_has_default_caps() -> None:
    assert EngineJob(Path("/in"), Path("/out"), Sizing(2)).caps == Caps()
