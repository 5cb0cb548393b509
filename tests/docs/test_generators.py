"""Tools that read the contract from the outside: none of them finds fault, and what they make is of use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from project_root import ROOT

if TYPE_CHECKING:
    from tests.docs.conftest import Run, Tool

CONTRACT = ROOT / "openapi.yaml"
TOOLS = ROOT / "docs" / "reference"

USES = """
import type { paths } from "./uprez";

type Answer = paths["/images/{id}"]["get"]["responses"]["200"]["content"]["application/json"];

export const isDone = (answer: Answer): boolean => answer.data.status === "STATUS";
"""


def redocly_finds(tool: Tool, contract: Path) -> list[str]:
    done = tool(
        "@redocly/cli/bin/cli.js", "lint", str(contract), "--format", "json",
        "--config", str(TOOLS / "redocly.yaml"),
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout)["problems"]
    return [f"{problem['ruleId']}: {problem['message']}" for problem in found]


def test_redocly_recommends_nothing(tool: Tool) -> None:
    assert redocly_finds(tool, CONTRACT) == []


# A linter that found its rules nowhere would find nothing either.
@pytest.mark.parametrize(
    ("written", "harmed", "rule"),
    [
        ("  license:\n    name: MIT\n", "  x-license:\n    name: MIT\n", "info-license"),
        ("operationId: logout\n", "operationId: login\n", "operation-operationId-unique"),
        ("      summary: Get a token\n", "", "operation-summary"),
        ("security: []\n", "", "security-defined"),
    ],
)  # fmt: skip
def test_redocly_finds_what_is_wrong(
    tool: Tool, tmp_path: Path, written: str, harmed: str, rule: str
) -> None:
    text = CONTRACT.read_text("utf-8")
    assert written in text
    (tmp_path / "openapi.yaml").write_text(text.replace(written, harmed))

    assert rule in {problem.partition(":")[0] for problem in redocly_finds(tool, tmp_path / "openapi.yaml")}


def test_the_types_for_typescript_know_the_contract(tool: Tool, tmp_path: Path) -> None:
    made = tool("openapi-typescript/bin/cli.js", str(CONTRACT), "--output", str(tmp_path / "uprez.d.ts"))
    assert (made.returncode, made.stderr) == (0, "")

    uses = tmp_path / "uses.ts"
    for status, problems in (("completed", 0), ("finished", 1)):
        uses.write_text(USES.replace("STATUS", status))
        done = tool("typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "false", str(uses))
        assert done.stdout.count("error TS") == problems, done.stdout


def test_the_python_client_is_generated_without_a_warning(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("openapi_python_client", reason="the group docs is not installed")
    made = run(
        "openapi-python-client", "generate", "--path", str(CONTRACT), "--output-path", str(tmp_path / "uprez_client"),
        "--meta", "none", "--config", str(TOOLS / "python-client.yaml"), "--fail-on-warning",
    )  # fmt: skip

    assert made.returncode == 0, made.stdout
    assert "arning" not in made.stdout + made.stderr
