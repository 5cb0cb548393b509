"""Uprez, as operators run it, keeps what the kit asks of every server."""

from __future__ import annotations

import json
from collections.abc import Callable

from running_service import Service, run_uprez

from conformance.options import Options
from conformance.requirement import PROFILES
from conformance.runner import Exit, run
from conformance.verdicts import Verdict

PASSWORD = "Correct1Horse"


# In a service of its own: the kit registers people, and others look at the mail that one gets.
def test_uprez_is_conformant(new_service: Callable[..., Service]) -> None:
    service = new_service(UPREZ_UNAUTHENTICATED_PER_HOUR="100000").start()
    tokens = [
        json.loads(
            run_uprez(
                "user", "create", "--email", f"{name}@example.org", "--name", "Kit", "--password", PASSWORD,
                "--plan", "enterprise", "--verified", "--data", str(service.folder),
            ).stdout
        )["token"]
        for name in ("kit", "other")
    ]  # fmt: skip

    found = run(
        Options(
            service.api,
            token=tokens[0],
            token_b=tokens[1],
            email="kit@example.org",
            password=PASSWORD,
            profiles=PROFILES,
        )
    )

    assert [
        f"{result.requirement.id} {result.verdict}: {result.message}"
        for result in found.results
        if result.verdict is not Verdict.PASS
        and (result.verdict is not Verdict.SKIP or result.requirement.profile == "core")
    ] == []
    assert found.exit is Exit.CONFORMANT
