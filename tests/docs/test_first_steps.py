"""The first steps of the contract, followed literally, and their sample in each language."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
import yaml
from PIL import Image
from running_service import Service, run_uprez

from project_root import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.docs.conftest import Customer, Customers, Run

TAGS = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))["tags"]
(TEXT,) = (tag["description"] for tag in TAGS if tag["name"] == "First steps")
SAMPLES = dict(re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = {
    "bash": (("bash", "-eu"), "sample.sh", "curl --version && jq --version"),
    "python": ((sys.executable, "-W", "error"), "sample.py", "true"),
    "javascript": (("node",), "sample.mjs", "node --version"),
    "php": (("php",), "sample.php", "php --modules | grep -x curl"),
}
ADDRESS = "http://127.0.0.1:8000/api"
PASSWORD = "Correct1Horse"


def run_sample(run: Run, language: str, photo: Path, folder: Path, api: str, token: str) -> Path:
    """Run the sample beside ``photo.jpg`` in the folder, expect success, and return the path of its result."""
    command, name, _ = COMMANDS[language]
    shutil.copy(photo, folder / "photo.jpg")
    assert ADDRESS in SAMPLES[language]
    (folder / name).write_text(SAMPLES[language].replace(ADDRESS, api))
    done = run(*command, name, cwd=folder, UPREZ_TOKEN=token)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "upscaled.jpg"


def test_there_is_a_sample_for_each_language() -> None:
    assert SAMPLES.keys() == COMMANDS.keys()


# Python and JavaScript come from wheels, the others from system packages.
@pytest.mark.parametrize(
    "language",
    [
        "python",
        "javascript",
        pytest.param("bash", marks=pytest.mark.system),
        pytest.param("php", marks=pytest.mark.system),
    ],
)
def test_sample_downloads_the_result(
    language: str, customers: Customers, customer: Customer, photo: Path, tmp_path: Path, run: Run
) -> None:
    needed = COMMANDS[language][2]
    if run("sh", "-c", needed).returncode != 0:
        pytest.skip(f"not installed, according to: {needed}")

    result = run_sample(run, language, photo, tmp_path, customers.service.api, customer.token)

    with Image.open(result) as image:
        assert (image.format, image.size) == ("JPEG", (192, 160))


def test_first_steps_end_in_a_downloaded_result(
    tmp_path: Path, photo: Path, run: Run, customers_of: Callable[[Service], Customers]
) -> None:
    service = Service(tmp_path / "data").start()
    try:
        registration = {
            "name": "Jane Smith",
            "email": "you@example.com",
            "password": PASSWORD,
            "password_confirmation": PASSWORD,
        }
        registered = requests.post(f"{service.api}/auth/register", json=registration, timeout=60)
        assert registered.status_code == 201
        token = registered.json()["data"]["token"]
        link = customers_of(service).link_in_mail_to("you@example.com")
        requests.get(link, timeout=60).raise_for_status()

        # A new account is on the Free plan, which has no API access.
        headers = {"Authorization": f"Bearer {token}"}
        rejected = requests.get(f"{service.api}/images", headers=headers, timeout=60)
        assert (rejected.status_code, rejected.headers["Content-Type"]) == (403, "application/json")
        plans = requests.get(f"{service.api}/plans", timeout=60).json()["data"]
        assert "starter" in {plan["slug"] for plan in plans if "api_access" in plan["features"]}
        (command,) = re.findall(r"`uprez\s(user\splan\s[^`]*)`", TEXT)
        changed = run_uprez(*command.split(), "--data", str(service.folder))
        assert changed.returncode == 0, changed.stderr

        result = run_sample(run, "python", photo, tmp_path, service.api, token)
        with Image.open(result) as image:
            assert (image.format, image.size) == ("JPEG", (192, 160))
    finally:
        assert service.stop() == 0


def test_operator_command_returns_a_token(tmp_path: Path) -> None:
    (command,) = re.findall(r"`uprez\s(user\screate\s[^`]*)`", TEXT)

    created = run_uprez(*command.split(), "--data", str(tmp_path / "data"))

    assert created.returncode == 0, created.stderr
    assert '"token"' in created.stdout
