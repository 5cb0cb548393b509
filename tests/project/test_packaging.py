"""What is in the package, and what one part of it may not drag in."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from uprez import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(folder),
            str(ROOT),
        ],
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_carries_what_the_code_reads(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()

    for needed in (
        "handlers/openapi.yaml",
        "domain/plans.toml",
        "domain/migrations/env.py",
        "domain/py.typed",
    ):
        assert needed in names
    assert wheel.read("handlers/openapi.yaml") == (ROOT / "openapi.yaml").read_bytes()
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


# The API runs on machines without ncnn, and a worker on machines without the API's libraries.
@pytest.mark.parametrize(
    ("imports", "foreign"),
    [
        (
            "handlers.app, handlers.probe, handlers.server, workers.broker, uprez.wiring",
            {"flask_openapi", "ncnn", "numpy", "workers.supervisor"},
        ),
        (
            "workers.process, workers.supervisor, uprez.wiring",
            {"connexion", "flask", "gunicorn", "ncnn", "numpy", "PIL"},
        ),
        (
            "domain.images, domain.jobs, domain.accounts, domain.schema",
            {"flask", "connexion", "dramatiq", "PIL", "ncnn"},
        ),
        ("conformance.cli", {"domain", "handlers", "workers", "uprez", "sqlalchemy", "flask"}),
        (
            "uprez.cli.main, uprez.cli.upscale",
            {"connexion", "flask", "gunicorn", "ncnn", "numpy", "PIL", "skimage", "sqlalchemy", "dramatiq"},
        ),
    ],
)
def test_a_part_loads_nothing_that_it_does_not_need(imports: str, foreign: set[str]) -> None:
    code = f"import sys, {imports}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert foreign.isdisjoint(loaded.split())


def test_every_version_is_the_same_one() -> None:
    contract = re.search(r"^  version: (\S+)$", (ROOT / "openapi.yaml").read_text("utf-8"), re.MULTILINE)
    changes = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert contract is not None
    assert changes is not None
    assert PROJECT["project"]["version"] == __version__ == contract[1].strip("'\"") == changes[1]


def test_the_checks_run_with_exact_versions() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
    pinned = {re.split(r"[=\[]", line)[0] for line in lines}

    assert [line for line in lines if "==" not in line] == []
    groups = [*PROJECT["project"]["optional-dependencies"].values(), *PROJECT["dependency-groups"].values()]
    wanted = {
        re.split(r"[\[><= ]", need)[0].lower()
        for group in [PROJECT["project"]["dependencies"], *groups]
        for need in group
    }
    assert wanted - {"uprez"} - pinned == set()
