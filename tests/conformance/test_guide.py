"""The commands of the kit's guide run, and its tables match the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from conformance.catalogue import requirements
from conformance.cli import app
from conformance.requirement import PROFILES
from conformance.runner import Exit
from conformance.verdicts import Verdict
from independent.server import Server
from project_root import ROOT

GUIDE = (ROOT / "docs" / "conformance" / "README.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"<!-- run: ([\w ]+) -->\n```sh\n(.*?)```", GUIDE, re.DOTALL))


def table(first_cell: str) -> dict[str, str]:
    """Return first and second cells of the table whose head begins with this cell."""
    (rows,) = re.findall(rf"^\| {first_cell} \|.*\n\| ---.*\n((?:\| .*\n)+)", GUIDE, re.MULTILINE)
    return dict(re.findall(r"^\| `?([\w ]+?)`? \| (.+?) \|", rows, re.MULTILINE))


def options_of(command: str) -> set[str]:
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    return {option for parameter in found.params for option in parameter.opts if option.startswith("--")}


def environment_variables() -> set[str]:
    found = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    return {str(parameter.envvar) for parameter in found.params if getattr(parameter, "envvar", None)}


@pytest.mark.parametrize(
    "block",
    [pytest.param(name, marks=() if name == "five minutes" else pytest.mark.slow) for name in BLOCKS],
)
def test_commands_of_the_guide_run(block: str, tmp_path: Path) -> None:
    script = tmp_path / "uprez-conformance"
    script.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from conformance.cli import main; main()" "$@"\n'
    )
    script.chmod(0o755)
    with Server() as server:
        described = {
            "BASE_URL": server.base_url,
            "TOKEN": server.tokens[0],
            "TOKEN_B": server.tokens[1],
            "EMAIL": server.email,
            "PASSWORD": server.password,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", BLOCKS[block]],
            env={**os.environ, **described},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    # On a busy machine, ten seconds generate too few requests for some verdicts.
    expected = {0, 2} if "--fuzz-seconds" in BLOCKS[block] else {0}
    assert done.returncode in expected, done.stdout + done.stderr


def test_options_and_variables_of_the_guide_exist() -> None:
    ours = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", GUIDE)) - {"--plan", "--verified"}  # of uprez user

    assert ours <= options_of("run")
    assert set(re.findall(r"UPREZ_KIT_\w+", GUIDE)) == environment_variables()


def test_ids_and_files_of_the_guide_exist() -> None:
    assert set(re.findall(r"\b[A-Z]{2,6}-[0-9]{3}\b", GUIDE)) <= {one.id for one in requirements()}
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", GUIDE):
        assert (ROOT / "docs" / "conformance" / link).exists(), link


def test_tables_of_the_guide_are_complete() -> None:
    assert set(table("profile")) == set(PROFILES)
    assert {int(code) for code in table("exit")} == set(Exit)
    assert set(table("verdict")) == {verdict.value for verdict in Verdict}


def test_github_step_is_valid() -> None:
    (step,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    run, upload = yaml.safe_load(step)

    assert set(re.findall(r"--[a-z-]+", run["run"])) <= options_of("run")
    assert set(run["env"]) <= environment_variables()
    assert upload["with"]["path"] in run["run"]
