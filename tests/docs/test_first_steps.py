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
    from subprocess import CompletedProcess

    from tests.docs.conftest import Customer, Customers, Run

TAGS = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))["tags"]
(TEXT,) = (tag["description"] for tag in TAGS if tag["name"] == "First steps")
SAMPLES = dict(re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = {
    "bash": (("bash",), "sample.sh", "curl --version && jq --version"),
    "python": ((sys.executable, "-W", "error"), "sample.py", "true"),
    "javascript": (("node",), "sample.mjs", "node --version"),
    "php": (("php",), "sample.php", "php --modules | grep -x curl"),
}
ADDRESS = "http://127.0.0.1:8000/api"
PASSWORD = "Correct1Horse"


# Python and JavaScript come from wheels, the others from system packages.
each_language = pytest.mark.parametrize(
    "language",
    [
        "python",
        "javascript",
        pytest.param("bash", marks=pytest.mark.system),
        pytest.param("php", marks=pytest.mark.system),
    ],
)


def skip_unless_installed(run: Run, language: str) -> None:
    needed = COMMANDS[language][2]
    if run("sh", "-c", needed).returncode != 0:
        pytest.skip(f"not installed, according to: {needed}")


def run_sample(run: Run, language: str, folder: Path, api: str, token: str) -> CompletedProcess[str]:
    """Run the sample in the folder, which contains ``photo.jpg``, as a reader runs it."""
    command, name, _ = COMMANDS[language]
    assert ADDRESS in SAMPLES[language]
    (folder / name).write_text(SAMPLES[language].replace(ADDRESS, api))
    return run(*command, name, cwd=folder, UPREZ_TOKEN=token)


def expect_result(done: CompletedProcess[str], folder: Path) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    with Image.open(folder / "upscaled.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (192, 160))


def test_there_is_a_sample_for_each_language() -> None:
    assert SAMPLES.keys() == COMMANDS.keys()


@each_language
def test_sample_downloads_the_result(
    language: str, customers: Customers, customer: Customer, photo: Path, tmp_path: Path, run: Run
) -> None:
    skip_unless_installed(run, language)
    shutil.copy(photo, tmp_path)

    done = run_sample(run, language, tmp_path, customers.service.api, customer.token)

    expect_result(done, tmp_path)


# A sample that continues after an error hides the message, which a beginner needs most.
@each_language
def test_sample_ends_with_the_error_of_the_upload(
    language: str, customers: Customers, customer: Customer, tmp_path: Path, run: Run
) -> None:
    skip_unless_installed(run, language)
    (tmp_path / "photo.jpg").write_text("This is not an image.")
    upload = {"image": (tmp_path / "photo.jpg").read_bytes()}
    rejected = customer.request("POST", "/images/upscale", files=upload)
    (message,) = rejected.json()["errors"]["image"]

    done = run_sample(run, language, tmp_path, customers.service.api, customer.token)

    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "null" not in done.stderr, "a request with the id or the link of a missing image"
    assert not (tmp_path / "upscaled.jpg").exists()


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
        assert (rejected.status_code, rejected.headers["X-Uprez-Reason"]) == (403, "api_access_missing")
        plans = requests.get(f"{service.api}/plans", timeout=60).json()["data"]
        assert "starter" in {plan["slug"] for plan in plans if "api_access" in plan["features"]}
        (command,) = re.findall(r"`uprez\s(user\splan\s[^`]*)`", TEXT)
        changed = run_uprez(*command.split(), "--data", str(service.folder))
        assert changed.returncode == 0, changed.stderr

        shutil.copy(photo, tmp_path)
        expect_result(run_sample(run, "python", tmp_path, service.api, token), tmp_path)
    finally:
        assert service.stop() == 0


def test_operator_command_returns_a_token(tmp_path: Path) -> None:
    (command,) = re.findall(r"`uprez\s(user\screate\s[^`]*)`", TEXT)

    created = run_uprez(*command.split(), "--data", str(tmp_path / "data"))

    assert created.returncode == 0, created.stderr
    assert '"token"' in created.stdout
