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
# The default run checks the profile core: tests/uprez/test_readme.py.
@pytest.mark.slow
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

    report = run(
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
        for result in report.results
        if result.verdict is not Verdict.PASS
        and (result.verdict is not Verdict.SKIP or result.requirement.profile == "core")
    ] == []
    assert report.exit is Exit.CONFORMANT
