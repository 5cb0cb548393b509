"""Uprez, as operators run it, keeps what the kit asks of every server."""

from __future__ import annotations

import json

from running_service import Service, run_uprez

from conformance.catalogue import PROFILES
from conformance.options import Options
from conformance.runner import Exit, run
from conformance.verdicts import Verdict

PASSWORD = "Correct1Horse"


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
            profiles=PROFILES,
        )
    )

    assert [
        f"{result.requirement.id} {result.verdict}: {result.sentence}"
        for result in found.results
        if result.verdict is not Verdict.PASS
        and (result.verdict is not Verdict.SKIP or result.requirement.profile == "core")
    ] == []
    assert found.exit is Exit.CONFORMANT
