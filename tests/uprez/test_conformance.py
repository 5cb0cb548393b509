"""A running service passes the conformance kit."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from running_service import Service, run_uprez

from conformance.options import Options
from conformance.requirement import PROFILES
from conformance.runner import Exit, run
from conformance.verdicts import Verdict

PASSWORD = "Correct1Horse"


# In a service of its own, because the kit registers accounts, and other tests count the mails.
@pytest.mark.parametrize(
    "fuzz_seconds", [pytest.param(1, id="short"), pytest.param(30, id="long", marks=pytest.mark.slow)]
)
def test_uprez_is_conformant(new_service: Callable[..., Service], fuzz_seconds: int) -> None:
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

    report = run(
        Options(
            service.api,
            token=tokens[0],
            token_b=tokens[1],
            email="kit@example.org",
            password=PASSWORD,
            profiles=PROFILES,
            fuzz_seconds=fuzz_seconds,
        )
    )

    assert [
        f"{result.requirement.id} {result.verdict}: {result.message}"
        for result in report.results
        if result.verdict is not Verdict.PASS
        and (result.verdict is not Verdict.SKIP or result.requirement.profile == "core")
    ] == []
    assert report.exit is Exit.CONFORMANT
