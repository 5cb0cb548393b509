"""Queries to a short-lived engine process: the report for an operator, and the devices to use."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from workers.engine.errors import EngineUnusable, unusable_error
from workers.engine.options import EngineOptions
from workers.engine.protocol import Message, from_line
from workers.engine.report_types import report_from_message
from workers.engine_process import START_SECONDS, run_query

if TYPE_CHECKING:
    from workers.engine.report_types import EngineReport


def engine_report(
    options: EngineOptions | None = None, *, timeout_seconds: float = START_SECONDS
) -> EngineReport:
    """Return a report on devices, models, versions and self-tests, made in a new process.

    Raise EngineUnusable when the options name what is not there, or when no report comes in time.
    """
    return report_from_message(_query(options or EngineOptions(), "--report", timeout_seconds))


def chosen_devices(options: EngineOptions, *, timeout_seconds: float = START_SECONDS) -> list[str]:
    """Return the ids of the devices to use, best first, none of them tested. Raise EngineUnusable."""
    ids: list[str] = _query(options, "--devices", timeout_seconds)["ids"]
    return ids


def _query(options: EngineOptions, argument: str, timeout_seconds: float) -> Message:
    """Run the engine with this option and return its message.

    Raise EngineUnusable, or the subclass that the message names, if the engine is unusable, fails or takes
    longer.
    """
    try:
        finished = run_query(options, argument, timeout_seconds)
        message = from_line(finished.stdout)
    except subprocess.TimeoutExpired as error:
        raise EngineUnusable(f"The engine did not report within {timeout_seconds:g} s.") from error
    except ValueError as error:
        last_lines = finished.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise EngineUnusable(
            f"The engine failed to report (exit status {finished.returncode}): {' '.join(last_lines)}"
        ) from error
    if message["type"] == "unusable":
        raise unusable_error(message["code"], message["message"])
    return message
