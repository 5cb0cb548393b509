"""The reference pages in a browser that reaches no other host, served and as the file that tox builds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.docs.conftest import Run, Tool, Town

CONTRACT = Path(__file__).parents[2] / "openapi.yaml"
EMBLEM = "https://cdn.redoc.ly/redoc/logo-mini-full.svg"
"""The one thing that Redoc's script asks another host for; the policy of the page refuses it."""

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


@pytest.fixture
def built(tool: Tool, tmp_path: Path) -> str:
    page = tmp_path / "index.html"
    made = tool(
        "@redocly/cli/bin/cli.js", "build-docs", str(CONTRACT), "--inlineBundle", "--output", str(page)
    )
    assert made.returncode == 0, made.stderr
    return page.as_uri()


def browse(run: Run, folder: Path, address: str) -> tuple[str, list[str]]:
    """The page as the browser has it in the end, and what it complained of."""
    done = run(
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=20000",
        "--enable-logging=stderr", "--dump-dom", address,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, re.findall(r"(?:ERROR|INFO):CONSOLE:\d+\] \"(.*)\", source", done.stderr)


def test_the_server_shows_an_operation_with_its_sample(run: Run, town: Town, tmp_path: Path) -> None:
    page, complaints = browse(run, tmp_path, f"{town.origin}/docs#/images/handlers.images.upscale")

    assert_shows_the_upload(page)
    assert f"{town.origin}/api" in page
    (refused,) = complaints
    assert EMBLEM in refused


def test_the_built_page_shows_an_operation_with_its_sample(run: Run, built: str, tmp_path: Path) -> None:
    page, _complaints = browse(run, tmp_path, f"{built}#/images/handlers.images.upscale")

    assert_shows_the_upload(page)


def assert_shows_the_upload(page: str) -> None:
    text = re.sub(r"<[^>]+>", "", page)
    assert '-H "Authorization: Bearer $UPREZ_TOKEN"' in text
    assert '-F "image=@photo.jpg"' in text
