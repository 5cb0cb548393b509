"""Runs of the kit against a small server in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.options import Options
from conformance.requirement import PROFILES
from conformance.runner import run
from conformance.verdicts import Verdict

if TYPE_CHECKING:
    from conformance.runner import Run
    from independent.server import Server

# The small server has no extensions of Uprez.
CLAIMED = tuple(profile for profile in PROFILES if profile != "extensions")


def check_server(server: Server, **others: Any) -> Run:
    """Run all profiles with all credentials; ``others`` are further ``Options``.

    Leave out generated requests, which use all of their time, unless ``fuzz_seconds`` is set.
    """
    given: dict[str, Any] = {
        "base_url": server.base_url,
        "token": server.tokens[0],
        "token_b": server.tokens[1],
        "email": server.email,
        "password": server.password,
        "profiles": CLAIMED,
        "work_timeout": 20,
        "fuzz_seconds": 0,
    }
    return run(Options(**{**given, **others}))


def failures(found: Run) -> list[str]:
    """Return a line for each result that did not pass. Outside of core, skipped results are allowed."""
    return [
        f"{result.requirement.id} {result.verdict}: {result.message}"
        for result in found.results
        if result.verdict is not Verdict.PASS
        and (result.verdict is not Verdict.SKIP or result.requirement.profile == "core")
    ]
