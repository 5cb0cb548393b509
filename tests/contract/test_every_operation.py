"""Schemathesis tests every operation of the contract against a running service."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from PIL import Image
from running_service import Service, run_uprez

from handlers.transport.contract import load_contract
from project_root import ROOT

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
# The default run has one seed and few examples; the slow runs have three seeds and many.
RUNS = [
    pytest.param(20261122, 25, id="seed 20261122, 25 examples"),
    *(
        pytest.param(seed, 200, id=f"seed {seed}, 200 examples", marks=pytest.mark.slow)
        for seed in (20261122, 1, 2)
    ),
]
PASSWORD = "Correct1Horse"
PLANS = """
[[plans]]
id = 1
name = "Free"
slug = "free"
price = 0
requests_per_hour = 1000000
images_per_month = -1
max_scale = 4
features = ["api_access", "batches"]
"""


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Provide a new service for each seed, because a run uses up limits such as that of failed logins."""
    folder = tmp_path_factory.mktemp("contract")
    (folder / "plans.toml").write_text(PLANS)
    environment = {
        "UPREZ_PLANS_FILE": str(folder / "plans.toml"),
        "UPREZ_CHECK_RESPONSES": "true",
        "UPREZ_BODY_TIMEOUT_SECONDS": "3",
        # Hundreds of generated images are too slow for the large models. Requests for the others get an error.
        "UPREZ_MODEL_CHOICES": "fast=realesr-animevideov3",
        "UPREZ_LOG_LEVEL": "warning",
    }
    running = Service(folder / "data", environment=environment).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def facts(service: Service) -> dict[str, Any]:
    """Create accounts, a completed image and a batch, and return what generated requests cannot guess."""
    created = run_uprez(
        "user", "create", "--email", "kit@example.com", "--name", "Kit", "--password", PASSWORD,
        "--data", str(service.folder),
    )  # fmt: skip
    account = json.loads(created.stdout)
    (mail,) = (service.folder / "mail").glob("*.eml")
    text = message_from_bytes(mail.read_bytes(), policy=default).get_content()
    verification = re.search(r"verify-email/\d+/(\S+)", text)
    assert verification is not None
    requests.get(
        f"{service.api}/auth/verify-email/{account['id']}/{verification[1]}", timeout=60
    ).raise_for_status()
    other = _new_account(service, "other@example.com")
    headers = {"Authorization": f"Bearer {account['token']}"}
    image = requests.post(
        f"{service.api}/images/upscale", headers=headers, files={"image": ("a.png", _png())}, timeout=60
    ).json()["data"]
    url = f"{service.api}/images/{image['id']}"
    while (image := requests.get(url, headers=headers, timeout=60).json()["data"])["status"] != "completed":
        assert image["status"] != "failed"
        time.sleep(0.1)
    batch = requests.post(
        f"{service.api}/batches", headers=headers, files={"images[]": ("b.png", _png())}, timeout=60
    ).json()["data"]
    return {
        "api": service.api,
        "account_id": account["id"],
        "email": "kit@example.com",
        "other_id": other["id"],
        "peer_token": _new_account(service, "peer@example.com")["token"],
        "database_url": f"sqlite:///{service.folder / 'uprez.sqlite3'}",
        "password": PASSWORD,
        "secret_key": (service.folder / "secret.key").read_text("ascii").strip(),
        "token": account["token"],
        "token_id": int(account["token"].partition("|")[0]),
        "image_id": image["id"],
        "batch_id": batch["id"],
        "file_key": image["download_url"].rpartition("/")[2],
        "verification_hash": verification[1],
    }


@pytest.mark.parametrize(("seed", "examples"), RUNS)
def test_every_response_conforms_to_the_contract(
    facts: dict[str, Any], tmp_path: Path, seed: int, examples: int
) -> None:
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    (tmp_path / "users.json").write_text(json.dumps({"auth": _users(facts)}))
    reached = tmp_path / "reached.json"
    # JSON is YAML; Uprez itself follows the exact rules.
    document = tmp_path / "openapi.yaml"
    document.write_text(json.dumps(load_contract().exact))
    run = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                str(CONFIG),
                "run",
                str(document),
            ),
            *("--checks", "all", "--url", facts["api"], "--max-examples", str(examples), "--seed", str(seed)),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": str(HOOKS),
            "UPREZ_TEST_CONTRACT": str(document),
            "UPREZ_TEST_CONTRACT_FACTS": str(tmp_path / "facts.json"),
            "UPREZ_TEST_CONTRACT_REACHED": str(reached),
            "UPREZ_TEST_CONTRACT_USERS": str(tmp_path / "users.json"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-12_000:] + run.stderr[-4_000:]
    succeeded = {
        (method, path) for method, path, status, _ in json.loads(reached.read_text()) if status < 300
    }
    # A run without successful requests would prove nothing, so every operation must succeed at least once.
    assert _operations() <= succeeded, _operations() - succeeded


def _new_account(service: Service, email: str) -> Any:
    """Create a verified account and return the output of the command."""
    created = run_uprez(
        "user", "create", "--email", email, "--name", "Another", "--password", PASSWORD,
        "--verified", "--data", str(service.folder),
    )  # fmt: skip
    return json.loads(created.stdout)


def _users(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the accounts in the format of Web Fuzzing Commons."""
    tokens = {"kit": facts["token"], "peer": facts["peer_token"]}
    return [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}]}
        for name, token in tokens.items()
    ]


def _operations() -> set[tuple[str, str]]:
    """Return method and path of every operation of the contract."""
    contract = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
    return {
        (method.upper(), path)
        for path, operations in contract["paths"].items()
        for method in operations
        if method in {"get", "post", "put", "patch", "delete"}
    }


def _png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 90)).save(content, "PNG")
    return content.getvalue()
