"""Linters and generators that read the contract."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from project_root import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        (r"(?m)^security:\n  - bearerToken: \[\]\n", "", "security-defined"),
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


def spectral_problems(tool: Tool, contract: Path, folder: Path) -> list[str]:
    """Return the rules that Spectral's OpenAPI ruleset reports, warnings included."""
    (folder / "rules.yaml").write_text('extends: ["spectral:oas"]')
    done = tool(
        "@stoplight/spectral-cli/dist/index.js", "lint", str(contract),
        "--ruleset", str(folder / "rules.yaml"), "--format", "json", "--quiet",
    )  # fmt: skip
    return [problem["code"] for problem in json.loads(done.stdout)]


def test_spectral_reports_no_problem(tool: Tool, tmp_path: Path) -> None:
    assert spectral_problems(tool, CONTRACT, tmp_path) == []


def test_spectral_reports_scopes_of_a_bearer_token(tool: Tool, tmp_path: Path) -> None:
    contract = tmp_path / "openapi.yaml"
    contract.write_text(CONTRACT.read_text("utf-8").replace("- bearerToken: []", "- bearerToken: ['a']"))

    assert "oas3-operation-security-defined" in spectral_problems(tool, contract, tmp_path)


# Its engine is written in Go, whose regular expressions know fewer escapes.
@pytest.mark.parametrize(
    ("before", "after", "errors"),
    [("", "", False), (r"pattern: '^[^\x00]*$'", r"pattern: '^[^\u0000]*$'", True)],
)
def test_vacuum_reports_no_error(run: Run, tmp_path: Path, before: str, after: str, errors: bool) -> None:
    vacuum = pytest.importorskip("vacuum", reason="there is no wheel of vacuum for this platform")
    program = shutil.copy(Path(vacuum.__file__).parent / "lib" / "vacuum", tmp_path / "vacuum")
    program.chmod(0o755)  # the wheel does not mark it as a program
    text = CONTRACT.read_text("utf-8")
    assert before in text
    (tmp_path / "openapi.yaml").write_text(text.replace(before, after) if before else text)

    done = run(str(program), "lint", "--errors", "--details", str(tmp_path / "openapi.yaml"))

    assert (done.returncode != 0) is errors, done.stdout + done.stderr


def test_hey_api_client_compiles(tool: Tool, tmp_path: Path) -> None:
    generated = tool("@hey-api/openapi-ts/bin/run.js", "-i", str(CONTRACT), "-o", str(tmp_path / "client"))
    assert generated.returncode == 0, generated.stdout + generated.stderr

    done = tool(
        "typescript/bin/tsc", "--noEmit", "--strict", "--target", "es2022", "--module", "esnext",
        "--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable",
        str(tmp_path / "client" / "index.ts"),
    )  # fmt: skip
    assert done.stdout == ""
    assert done.returncode == 0


def with_added_field(value: Any) -> Any:
    """Return the body with one more field in each object except the envelope."""
    if isinstance(value, list):
        return [with_added_field(item) for item in value]
    if not isinstance(value, dict):
        return value
    added = {} if "success" in value else {"added_by_another_server": 1}
    return {**{name: with_added_field(member) for name, member in value.items()}, **added}


def test_python_models_accept_every_example(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("datamodel_code_generator", reason="the group docs is not installed")
    output = tmp_path / "models.py"
    done = run(
        "datamodel-codegen", "--input", str(CONTRACT), "--input-file-type", "openapi", "--output", str(output)
    )
    assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location("models", output)
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    sys.modules["models"] = models
    spec.loader.exec_module(models)

    validated = 0
    for name, status, value in response_examples():
        getattr(models, name).model_validate(value)
        if status < "300":
            getattr(models, name).model_validate(with_added_field(value))
        validated += 1
    assert validated > 200


def response_examples() -> Iterator[tuple[str, str, Any]]:
    """Yield the schema's name, the status and the value of each example of a JSON response."""
    document = yaml.safe_load(CONTRACT.read_text("utf-8"))

    def resolved(node: Any) -> Any:
        while "$ref" in node:
            reference, node = node["$ref"], document
            for part in reference.removeprefix("#/").split("/"):
                node = node[part]
        return node

    for methods in document["paths"].values():
        for method, operation in methods.items():
            for status, response in operation["responses"].items() if method != "parameters" else ():
                body = resolved(response).get("content", {}).get("application/json", {"examples": {}})
                for example in body["examples"].values():
                    yield body["schema"]["$ref"].rpartition("/")[2], status, resolved(example)["value"]


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
