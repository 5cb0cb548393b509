"""The commands and claims of the README and of the pages that continue it."""

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
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from running_service import READY, Service

from conformance.catalogue import requirements
from conformance.runner import Exit
from domain.formats import ImageFormat
from domain.sizing import SCALE_FACTORS
from project_root import ROOT
from uprez.settings import Settings
from workers.engine.inference.models import MODELS

PAGES = {
    name: (ROOT / name).read_text("utf-8")
    for name in ("README.md", "docs/clients.md", "docs/engine.md", "docs/operating.md")
}
README = PAGES["README.md"]
ADDRESS = "http://127.0.0.1:8000"
BLOCKS = dict(re.findall(r"<!-- run: (\w+) -->\n```\w+\n(.*?)```", "\n".join(PAGES.values()), re.DOTALL))
TOX = "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox run"
NOT_RUN_HERE = (TOX, "pip install ")
"""The beginnings of blocks that need a network. ``.ci/run`` runs ``tox run``, but not ``tox run -e demo``."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    """Provide a user's folder with a photograph, and with the console scripts in ``bin``."""
    made = tmp_path_factory.mktemp("user")
    shutil.copy(photo, made / "photo.jpg")
    (made / "bin").mkdir()
    for name, module in {"uprez": "uprez", "uprez-conformance": "conformance"}.items():
        script = made / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    return made


def path_of(folder: Path) -> str:
    """Return a search path that begins with the console scripts of ``folder``."""
    return f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"


def shell(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in ``folder`` with bash and expect success."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path_of(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def create_account(folder: Path, service: Service) -> str:
    """Run the README's command and return the token that it prints."""
    code = BLOCKS["account"] + '\necho "$UPREZ_TOKEN"'
    return shell(code, folder, UPREZ_DATA=str(service.folder)).stdout.strip()


def code_for(name: str, service: Service) -> str:
    """Return the block with the address of ``service``."""
    return BLOCKS[name].replace(ADDRESS, service.api.removesuffix("/api"))


@pytest.fixture(scope="module")
def token(folder: Path, service: Service) -> str:
    return create_account(folder, service)


def test_every_block_is_run_by_a_test() -> None:
    sources = (Path(__file__), ROOT / "tests" / "docs" / "test_generated_client.py")
    tests = "".join(source.read_text("utf-8") for source in sources)
    blocks = re.findall(r"(.*)\n```(?:sh|python)\n((?:.*\n)*?)```", "\n".join(PAGES.values()))

    assert set(BLOCKS) == set(re.findall(r'(?:BLOCKS\[|code_for\(|run_block\()"(\w+)"', tests))
    for line_above, code in blocks:
        assert line_above.startswith("<!-- run: ") or code.startswith(NOT_RUN_HERE), code


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_heading(page: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}, (
                link
            )


def test_tox_has_the_demo_and_ci_runs_the_readmes_command() -> None:
    tox = ConfigParser()
    tox.read(ROOT / "tox.ini")

    assert f"{TOX} -e demo\n" in README
    assert f"```sh\n{TOX}\n" in README
    assert tox["testenv:demo"]["commands"] == "uprez demo {posargs}"
    assert TOX in (ROOT / ".ci" / "run").read_text("utf-8")


def test_readme_names_what_the_code_has() -> None:
    assert f"{', '.join(map(str, SCALE_FACTORS[:-1]))} or {SCALE_FACTORS[-1]} times" in README
    assert f"against {len(requirements())} requirements" in README
    for text, status in (
        ("conformant", Exit.CONFORMANT),
        ("not conformant", Exit.NOT_CONFORMANT),
        ("inconclusive", Exit.INCONCLUSIVE),
    ):
        assert f"{status.value} for {text}" in README


def test_pages_name_what_the_code_has() -> None:
    engine, clients = PAGES["docs/engine.md"], PAGES["docs/clients.md"]
    (formats,) = re.findall(r"Input formats are (.*)\. The result", engine)
    assert {name.lower() for name in re.findall(r"\w+", formats)} - {"and"} == set(ImageFormat)
    for limit, of in ((ImageFormat.GIF, "200 frames"), (ImageFormat.TIFF, "50")):
        assert of.startswith(str(limit.max_frames))
        assert f"up to {of}" in engine
    assert set(re.findall(r"^\| `(.+?)` \|", engine, re.MULTILINE)) == set(MODELS)
    assert Settings.model_fields["download_link_seconds"].default == 3600
    assert "valid for one hour" in clients
    names = {f"UPREZ_{name.upper()}" for name in Settings.model_fields} | {"UPREZ_TOKEN"}
    assert set(re.findall(r"UPREZ_[A-Z_]+", "\n".join(PAGES.values()))) <= names


def test_cpu_speed_ratio_is_the_measured_one() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text("utf-8"))["engine"]
    deep, shallow = (
        next(rows[0]["s per megapixel"] for title, rows in measured.items() if title.startswith(f"{name}, ") and isinstance(rows, list))
        for name in ("realesrgan-x4plus", "realesr-animevideov3")
    )  # fmt: skip
    (stated,) = re.findall(r"about (\d+) times faster", PAGES["docs/engine.md"])

    assert int(stated) == pytest.approx(deep / shallow, rel=0.2)


@pytest.mark.system
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_upload_with_curl_is_accepted(folder: Path, service: Service, token: str) -> None:
    code = code_for("upload", service).replace("curl ", "curl -w '\\n%{http_code}' ")

    body, status = shell(code, folder, UPREZ_TOKEN=token).stdout.rsplit("\n", 1)

    assert (status, json.loads(body)["success"]) == ("202", True)
    assert isinstance(json.loads(body)["data"]["id"], int)


def test_python_sample_downloads_the_result(folder: Path, service: Service, token: str) -> None:
    (folder / "sample.py").write_text(code_for("python", service))

    assert shell("python sample.py", folder, UPREZ_TOKEN=token).stdout == "180x150\n"
    with Image.open(folder / "result.jpg") as result:
        assert result.size == (180, 150)


@pytest.mark.system
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_batch_with_curl_is_completed(folder: Path, service: Service, token: str) -> None:
    batch = json.loads(shell(code_for("batch", service), folder, UPREZ_TOKEN=token).stdout)["data"]

    deadline = time.monotonic() + 120
    while batch["status"] in {"pending", "processing"} and time.monotonic() < deadline:
        time.sleep(0.1)
        batch = requests.get(
            f"{service.api}/batches/{batch['id']}", headers={"Authorization": f"Bearer {token}"}, timeout=120
        ).json()["data"]
    assert (batch["status"], batch["completed_images"], batch["progress"]) == ("completed", 2, 100)


def test_operator_commands_change_an_account(folder: Path, service: Service) -> None:
    bearer = {"Authorization": f"Bearer {service.new_token('anna@example.com', plan='free')}"}
    code = BLOCKS["operator"].replace("you@example.com", "anna@example.com")

    shell(code, folder, UPREZ_DATA=str(service.folder))

    def get(path: str) -> dict[str, Any]:
        response = requests.get(f"{service.api}/{path}", headers=bearer, timeout=120).json()
        return dict(response["data"])

    subscription = get("subscription")
    assert get("usage")["image_uploads"]["limit"] == 12_500
    assert subscription["plan"]["slug"] == "enterprise"
    assert subscription["subscription"]["status"] == "cancelled"
    assert subscription["subscription"]["ends_at"] == "2030-12-31T00:00:00.000000Z"


def test_settings_take_effect_in_a_service(folder: Path, new_service: Callable[..., Service]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = shell(BLOCKS["settings"] + "\nenv", folder).stdout.splitlines()
    settings = dict(line.split("=", 1) for line in lines if line.startswith("UPREZ_"))
    settings["UPREZ_UNAUTHENTICATED_PER_HOUR"] = "1"

    service = new_service("--port", str(port), **settings).start()

    def get_plans(client: str) -> requests.Response:
        headers = {"X-Forwarded-For": client, "Origin": "https://app.example.com"}
        return requests.get(f"http://127.0.0.1:{port}/api/plans", headers=headers, timeout=120)

    assert service.api == "https://uprez.example.com/api"
    response = get_plans("203.0.113.7")
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert [get_plans(client).status_code for client in ("203.0.113.7", "203.0.113.8")] == [429, 200]


# The service is a new one: the hourly limits of the default settings are enough for one run of the kit.
def test_kit_finds_the_server_conformant(folder: Path, new_service: Callable[..., Service]) -> None:
    service = new_service().start()
    token = create_account(folder, service)

    assert (
        "\nconformant: " in "\n" + shell(code_for("conformance", service), folder, UPREZ_TOKEN=token).stdout
    )
    assert "</html>" in (folder / "report" / "report.html").read_text("utf-8")


def test_upscale_and_doctor_need_no_server(folder: Path) -> None:
    assert "`uprez upscale photo.jpg large.jpg --scale 4`" in README
    assert "uprez upscale photo.jpg large.jpg --scale 4\n" in BLOCKS["alone"]
    assert "Used: " in shell(BLOCKS["alone"], folder).stdout
    with Image.open(folder / "large.jpg") as result:
        assert result.size == (384, 320)


# The quick start of the API's documentation, with only host and token changed.
@pytest.mark.system
@pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("jq") is None, reason="curl or jq is not installed"
)
def test_api_documentation_quick_start_works(folder: Path, service: Service, token: str) -> None:
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

    response = requests.get(link, timeout=120)
    assert response.headers["Content-Type"] == "image/jpeg"
    assert "filename=photo.jpg" in response.headers["Content-Disposition"]


def test_serve_prints_how_to_create_an_account(folder: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(
        ["bash", "-c", "exec " + BLOCKS["serve"]],
        env={**os.environ, "PATH": path_of(folder), "UPREZ_PORT": "0", "UPREZ_DATA": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        printed = ""
        deadline = time.monotonic() + 120
        while "Stop it with Ctrl-C." not in printed and time.monotonic() < deadline:
            printed += running.stdout.readline()
        (api,) = re.findall(rf"{READY}(\S+)", printed)
        pages = requests.get(f"{api.removesuffix('/api')}/docs", timeout=120)
    finally:
        running.terminate()
        running.communicate(timeout=60)
    assert pages.status_code == 200
    assert (
        f"uprez user create --email you@example.com --name You --plan professional --verified --data {tmp_path}"
        in printed
    )
    assert running.returncode == 0
