"""Generated requests and state machines against a correct server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from conformance.contract import METHODS
from conformance.fuzzing.contract_subset import contract_for
from conformance.images.samples import make_sample
from conformance.options import Options
from conformance.runner import Run, run
from conformance.verdicts import Verdict
from independent.records import StoredImage
from independent.server import Server
from project_root import ROOT

SECONDS = 1  # one round, which has no time limit


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def conformance(server: Server, *only: str, **given: object) -> Run:
    options = {
        "base_url": server.base_url,
        "token": server.tokens[0],
        "email": server.email,
        "password": server.password,
        "only": only,
        **given,
    }
    return run(Options(**options))


def verdicts(found: Run) -> dict[str, tuple[Verdict, str]]:
    return {result.requirement.id: (result.verdict, result.message) for result in found.results}


def test_contract_subset_has_no_unsafe_operations() -> None:
    paths = contract_for({"core"})["paths"]
    operations = {(method, path) for path, item in paths.items() for method in item if method in METHODS}

    assert ("post", "/images/upscale") in operations
    assert not {("delete", "/user/tokens/{id}"), ("post", "/user/tokens"), ("get", "/plans")} & operations
    assert not [path for _, path in operations if path.startswith(("/auth", "/batches", "/files"))]


def test_request_bodies_have_no_extension_fields() -> None:
    body = contract_for({"core"})["paths"]["/images/upscale"]["post"]["requestBody"]["content"]

    schema = body["multipart/form-data"]["schema"]
    assert "model" not in schema["properties"]
    assert schema["additionalProperties"] is False
    assert not [
        example for example in body["multipart/form-data"]["examples"].values() if "model" in example["value"]
    ]


def test_correct_server_passes_and_keeps_other_data(
    server: Server,
) -> None:
    # Generated requests often contain small ids.
    theirs = [_upload(server) for _ in range(3)]
    wanted = [f"GEN-{number:03}" for number in range(1, 12)]

    found = conformance(server, *wanted, profiles=("generated", "batches"), fuzz_seconds=SECONDS)

    assert verdicts(found) == dict.fromkeys(wanted, (Verdict.PASS, ""))
    assert sorted(server.images) == theirs
    assert server.batches == {}
    assert len(server.tokens_by_secret) == 2
    assert found.left_behind == []


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_correct_server_passes_state_machines(server: Server, seed: int) -> None:
    theirs = [_upload(server)]

    found = conformance(server, "GEN-101", "GEN-102", "GEN-103", seed=seed)

    assert {verdict for verdict, _ in verdicts(found).values()} == {Verdict.PASS}, verdicts(found)
    assert sorted(server.images) == theirs
    assert len(server.tokens_by_secret) == 2


def test_failure_message_lists_the_last_steps() -> None:
    class StatusGoesBack(Server):
        looks = 0

        def image_data(self, image: StoredImage) -> dict[str, Any]:
            data = super().image_data(image)
            self.looks += image.status == "completed"
            return data | ({"status": "processing"} if self.looks == 3 else {})

    with StatusGoesBack() as server:
        found = conformance(server, "GEN-102")

    verdict, message = verdicts(found)["GEN-102"]
    assert verdict is Verdict.FAIL
    assert " was 'completed' and is 'processing' now. Last steps: 1. " in message
    assert found.left_behind == []


def test_zero_fuzz_seconds_skips_generated_requests(server: Server) -> None:
    found = conformance(server, "GEN-001", fuzz_seconds=0)

    assert verdicts(found)["GEN-001"][0] is Verdict.SKIP


def test_server_that_rejects_everything_is_inconclusive() -> None:
    class Busy(Server):
        def check_permission(self, route: object, caller: object) -> None:
            if not route.path.endswith(("/user", "/images")):  # type: ignore[attr-defined]
                raise self.too_many_requests(3600)

    with Busy() as server:
        found = conformance(server, "GEN-001", "GEN-007", fuzz_seconds=2, max_wait=0)

    assert verdicts(found)["GEN-007"][0] is Verdict.INCONCLUSIVE


def test_only_created_items_are_deleted(tmp_path: Path) -> None:
    """Run in a new process, because importing the hooks registers them with Schemathesis."""
    script = (
        "import json, sys; from conformance.fuzzing import schemathesis_hooks as hooks; hooks._made['/images'].add(7);"
        "print(json.dumps([str(hooks._own_or_unused('/images/{id}', one)) for one in json.loads(sys.argv[1])]))"
    )
    generated = [7, "7", 5, 6, 0, -3, "5", "05", "5.0", " 5", "5e0", "\uff15", "abc", "..%2F5", 5.0, [5]]
    facts = {
        "made": str(tmp_path / "made"), "tag": "t", "uploads": 1, "anonymous": False, "image_id": 1, "batch_id": None,
    }  # fmt: skip

    completed = subprocess.run(
        [sys.executable, "-c", script, json.dumps(generated)],
        env={**os.environ, "UPREZ_KIT_TOKEN": "t", "UPREZ_KIT_FACTS": json.dumps(facts)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    sent = json.loads(completed.stdout)
    assert sent[:2] == ["7", "7"]
    assert not {"5", "6", "05", "5.0", " 5", "5e0", "\uff15", "..%2F5", "[5]"} & set(sent)
    assert sent[4:6] == ["0", "-9007199254000000"]
    assert sent[12] == "abc"


def _upload(server: Server) -> int:
    response = requests.post(
        f"{server.base_url}/images/upscale",
        headers={"Authorization": f"Bearer {server.tokens[0]}"},
        files={"image": make_sample("png").part},
        timeout=10,
    )
    made: int = response.json()["data"]["id"]
    return made
