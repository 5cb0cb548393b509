"""What the README tells a newcomer to type, typed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from running_service import Service

from project_root import ROOT

README = (ROOT / "README.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"


def block(name: str) -> str:
    """The code behind ``<!-- run: name -->``."""
    (code,) = re.findall(rf"<!-- run: {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    return str(code)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    """A user's folder: a picture, and the console scripts on the path."""
    made = tmp_path_factory.mktemp("newcomer")
    shutil.copy(photo, made / "photo.jpg")
    (made / "bin").mkdir()
    for name, module in {"uprez": "uprez", "uprez-conformance": "conformance"}.items():
        script = made / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    return made


def shell(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def token(folder: Path, service: Service) -> str:
    return shell(
        block("account") + '\necho "$UPREZ_TOKEN"', folder, UPREZ_DATA=str(service.folder)
    ).stdout.strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_upload_with_curl(folder: Path, service: Service, token: str) -> None:
    code = block("upload").replace(ADDRESS, service.api.removesuffix("/api"))

    assert (
        '"message":"Image uploaded and queued for processing"'
        in shell(code, folder, UPREZ_TOKEN=token).stdout
    )


def test_the_way_in_python(folder: Path, service: Service, token: str) -> None:
    code = block("python").replace(ADDRESS, service.api.removesuffix("/api"))
    (folder / "way.py").write_text(code)

    assert shell("python way.py", folder, UPREZ_TOKEN=token).stdout == "180x150\n"
    with Image.open(folder / "result.jpg") as result:
        assert result.size == (180, 150)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_batch_with_curl(folder: Path, service: Service, token: str) -> None:
    code = block("batch").replace(ADDRESS, service.api.removesuffix("/api"))

    batch = json.loads(shell(code, folder, UPREZ_TOKEN=token).stdout)["data"]

    deadline = time.monotonic() + 60
    while batch["status"] in {"pending", "processing"} and time.monotonic() < deadline:
        time.sleep(0.1)
        batch = requests.get(
            f"{service.api}/batches/{batch['id']}", headers={"Authorization": f"Bearer {token}"}, timeout=30
        ).json()["data"]
    assert (batch["status"], batch["completed_images"], batch["progress"]) == ("completed", 2, 100)


def test_what_an_operator_says_of_an_account(folder: Path, service: Service) -> None:
    bearer = {"Authorization": f"Bearer {service.new_token('anna@example.com', plan='free')}"}
    code = block("operator").replace("you@example.com", "anna@example.com")

    shell(code, folder, UPREZ_DATA=str(service.folder))

    def shown(path: str) -> dict[str, Any]:
        answer = requests.get(f"{service.api}/{path}", headers=bearer, timeout=30).json()
        return dict(answer["data"])

    subscription = shown("subscription")
    assert shown("usage")["image_uploads"]["limit"] == 12_500
    assert subscription["plan"]["slug"] == "enterprise"
    assert subscription["subscription"]["status"] == "cancelled"
    assert subscription["subscription"]["ends_at"] == "2030-12-31T00:00:00.000000Z"


# A service does what these lines say; that they can be read would not be enough.
def test_the_settings_of_a_service_for_others(folder: Path, new_service: Callable[..., Service]) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    lines = shell(block("settings") + "\nenv", folder).stdout.splitlines()
    settings = dict(line.split("=", 1) for line in lines if line.startswith("UPREZ_"))
    settings["UPREZ_UNAUTHENTICATED_PER_HOUR"] = "1"

    service = new_service("--port", str(port), **settings).start()

    def plans(client: str) -> requests.Response:
        headers = {"X-Forwarded-For": client, "Origin": "https://app.example.com"}
        return requests.get(f"http://127.0.0.1:{port}/api/plans", headers=headers, timeout=30)

    assert service.api == "https://uprez.example.com/api"
    answer = plans("203.0.113.7")
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert [plans(client).status_code for client in ("203.0.113.7", "203.0.113.8")] == [429, 200]


# With a service that nobody has asked anything yet: the limits of delivery are enough for one run.
def test_the_check_of_a_server(folder: Path, new_service: Callable[..., Service]) -> None:
    service = new_service().start()
    token = shell(
        block("account") + '\necho "$UPREZ_TOKEN"', folder, UPREZ_DATA=str(service.folder)
    ).stdout.strip()
    code = block("conformance").replace(ADDRESS, service.api.removesuffix("/api"))

    assert "\nconformant: " in "\n" + shell(code, folder, UPREZ_TOKEN=token).stdout
    assert "</html>" in (folder / "report" / "report.html").read_text("utf-8")


def test_the_engine_alone(folder: Path) -> None:
    assert "Used: " in shell(block("alone"), folder).stdout
    with Image.open(folder / "large.jpg") as result:
        assert result.size == (384, 320)


# The quick start of the API's documentation, in its own words but for host and token.
@pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("jq") is None, reason="curl or jq is not installed"
)
def test_the_three_steps_of_a_client_in_a_shell(folder: Path, service: Service, token: str) -> None:
    code = """
    IMAGE_ID=$(curl -s -X POST $API/images/upscale -H "Authorization: Bearer $UPREZ_TOKEN" \
      -F "image=@photo.jpg" -F "scale_factor=2" | jq -r '.data.id')
    while true; do
      STATUS=$(curl -s $API/images/$IMAGE_ID -H "Authorization: Bearer $UPREZ_TOKEN" | jq -r '.data.status')
      [ "$STATUS" = "completed" ] || [ "$STATUS" = "failed" ] && break
      sleep 1
    done
    curl -s $API/images/$IMAGE_ID/download -H "Authorization: Bearer $UPREZ_TOKEN" | jq -r '.data.download_url'
    """
    link = shell(code, folder, UPREZ_TOKEN=token, API=service.api).stdout.strip()

    answer = requests.get(link, timeout=30)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert "filename=photo.jpg" in answer.headers["Content-Disposition"]


def test_serve_tells_a_newcomer_how_to_make_an_account(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "uprez", "serve", "--port", "0", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        said = ""
        deadline = time.monotonic() + 60
        while "Stop it with Ctrl-C." not in said and time.monotonic() < deadline:
            said += running.stdout.readline()
    finally:
        running.terminate()
        running.communicate(timeout=20)
    assert (
        f"uprez user create --email you@example.com --name You --plan professional --verified --data {tmp_path}"
        in said
    )
    assert running.returncode == 0
