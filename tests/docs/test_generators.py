"""Linters and generators that read the contract."""

from __future__ import annotations

import json
import re
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

type Body = paths["/images/{id}"]["get"]["responses"]["200"]["content"]["application/json"];

export const isDone = (body: Body): boolean => body.data.status === "STATUS";
"""


def redocly_problems(tool: Tool, contract: Path) -> list[str]:
    """Return what Redocly's linter reports, as ``rule: message``."""
    done = tool(
        "@redocly/cli/bin/cli.js", "lint", str(contract), "--format", "json",
        "--config", str(TOOLS / "redocly.yaml"),
    )  # fmt: skip
    problems: list[dict[str, Any]] = json.loads(done.stdout)["problems"]
    return [f"{problem['ruleId']}: {problem['message']}" for problem in problems]


def test_redocly_reports_no_problem(tool: Tool) -> None:
    assert redocly_problems(tool, CONTRACT) == []


# Without its rules the linter would report no problem either.
@pytest.mark.parametrize(
    ("pattern", "replacement", "rule"),
    [
        (r"  license:\n    name: MIT\n", "  x-license:\n    name: MIT\n", "info-license"),
        ("operationId: logout\n", "operationId: login\n", "operation-operationId-unique"),
        (r"(?m)^      summary: .*\n", "", "operation-summary"),
        (r"security: \[\]\n", "", "security-defined"),
    ],
)  # fmt: skip
def test_redocly_reports_a_broken_rule(
    tool: Tool, tmp_path: Path, pattern: str, replacement: str, rule: str
) -> None:
    contract, count = re.subn(pattern, replacement, CONTRACT.read_text("utf-8"))
    assert count
    (tmp_path / "openapi.yaml").write_text(contract)

    assert rule in {
        problem.partition(":")[0] for problem in redocly_problems(tool, tmp_path / "openapi.yaml")
    }


def test_typescript_types_reject_an_unknown_status(tool: Tool, tmp_path: Path) -> None:
    generated = tool("openapi-typescript/bin/cli.js", str(CONTRACT), "--output", str(tmp_path / "uprez.d.ts"))
    assert (generated.returncode, generated.stderr) == (0, "")

    uses = tmp_path / "uses.ts"
    for status, problems in (("completed", 0), ("finished", 1)):
        uses.write_text(USES.replace("STATUS", status))
        done = tool("typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "false", str(uses))
        assert done.stdout.count("error TS") == problems, done.stdout


def test_python_client_is_generated_without_warning(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("openapi_python_client", reason="the group docs is not installed")
    generated = run(
        "openapi-python-client", "generate", "--path", str(CONTRACT), "--output-path", str(tmp_path / "uprez_client"),
        "--meta", "none", "--config", str(TOOLS / "python-client.yaml"), "--fail-on-warning",
    )  # fmt: skip

    assert generated.returncode == 0, generated.stdout
    assert "arning" not in generated.stdout + generated.stderr
