"""Uprez, as operators run it, keeps what the kit asks of every server."""

from __future__ import annotations

import json

from running_service import Service, run_uprez

from conformance.options import Options
from conformance.runner import Exit, run

PASSWORD = "Correct1Horse"
CORE_SECONDS = 60


def test_uprez_is_conformant(service: Service) -> None:
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
            profiles=("core", "accounts", "batches", "limits", "security", "extensions"),
        )
    )

    assert [
        f"{result.requirement.id} {result.verdict}: {result.sentence}"
        for result in found.results
        if result.verdict != "pass"
    ] == []
    assert found.exit is Exit.CONFORMANT
    assert found.left_behind == []
    core = sum(result.seconds for result in found.results if result.requirement.profile == "core")
    assert core < CORE_SECONDS
