"""The quick start in Arazzo 1.0, generated from the contract and run against a service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from project_root import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docs.conftest import Customer, Customers, Run, Tool


def test_runner_executes_the_quick_start(
    tool: Tool, run: Run, customers: Customers, customer: Customer, photo: Path, tmp_path: Path
) -> None:
    workflow = tmp_path / "quick-start.arazzo.json"
    subprocess.run(
        [sys.executable, "docs/reference/quick_start.py", str(workflow)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    shutil.copy(photo, tmp_path / "photo.jpg")
    before = customer.data("GET", "/images")

    done = run(
        "node", str(ROOT / "docs/reference/node_modules/@redocly/cli/bin/cli.js"), "respect", workflow.name,
        "--input", f"token={customer.token}", "--server", f"uprez={customers.service.api}",
        cwd=tmp_path, REDOCLY_TELEMETRY="off", CI="true",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    newest = customer.data("GET", "/images")[0]
    assert newest not in before
    assert (newest["status"], newest["upscaled_dimensions"]) == ("completed", "192x160")


def test_steps_come_from_the_links_of_the_contract(tmp_path: Path) -> None:
    workflow = tmp_path / "quick-start.arazzo.json"
    subprocess.run(
        [sys.executable, "docs/reference/quick_start.py", str(workflow)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip

    (only,) = json.loads(workflow.read_text())["workflows"]
    assert [step["stepId"] for step in only["steps"]] == ["upscale_image", "get_image", "download_image"]
