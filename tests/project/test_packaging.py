"""What is in the package, and what one part of it may not drag in."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from conformance.catalogue import FAMILIES
from project_root import ROOT
from uprez import __version__

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
        "domain/database/migrations/env.py",
        "domain/py.typed",
        "conformance/reports/report.html.j2",
        "conformance/reports/results.schema.json",
        *(f"conformance/requirements/{family}.toml" for family in FAMILIES),
    ):
        assert needed in names
    assert wheel.read("conformance/openapi.yaml") == (ROOT / "openapi.yaml").read_bytes()
    assert wheel.read("handlers/openapi.yaml") == (ROOT / "openapi.yaml").read_bytes()
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


# The API runs on machines without ncnn, and a worker on machines without the API's libraries.
@pytest.mark.parametrize(
    ("imports", "foreign"),
    [
        (
            "handlers.app, uprez.adapters.image_probe, handlers.transport.server, workers.broker, uprez.wiring",
            {"flask_openapi", "ncnn", "numpy", "workers.engine_child"},
        ),
        (
            "workers.process, workers.engine_child, uprez.wiring",
            {"connexion", "flask", "gunicorn", "ncnn", "numpy", "PIL"},
        ),
        (
            "domain.images, domain.jobs, domain.accounts, domain.database.schema",
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


# What pip leaves out when somebody installs no more than the kit, or no extra at all.
BLOCKED = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, {wheel!r})
sys.argv[1:] = {arguments}
import {module}
assert {module}.__file__.startswith({wheel!r})
{module}.{function}()
"""
# (Not pydantic-settings: what validates OpenAPI schemas needs it as well.)
OF_THE_SERVER = {
    "alembic",
    "argon2",
    "connexion",
    "domain",
    "dramatiq",
    "email_validator",
    "filelock",
    "flask",
    "gunicorn",
    "handlers",
    "itsdangerous",
    "limits",
    "ncnn",
    "redis",
    "sqlalchemy",
    "uprez",
    "uvicorn",
    "workers",
}


def from_the_wheel(
    wheel: zipfile.ZipFile, absent: set[str], module: str, function: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """A console script out of the wheel itself, in an empty folder, where some packages cannot be imported."""
    assert wheel.filename is not None
    names = wheel.filename
    code = BLOCKED.format(
        names=absent, wheel=names, arguments=list(arguments), module=module, function=function
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=Path(names).parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain", "IMG-001"), "both sides are multiplied by it"),
        (("list",), "IMG-001"),
        (("--version",), "uprez-conformance "),
    ],
)
def test_the_kit_runs_from_the_wheel_without_what_the_server_needs(
    wheel: zipfile.ZipFile, arguments: tuple[str, ...], said: str
) -> None:
    call = from_the_wheel(wheel, OF_THE_SERVER, "conformance.__main__", "main", *arguments)

    assert call.returncode == 0, call.stderr
    assert said in call.stdout


def test_without_the_extra_of_the_service_its_command_says_what_to_install(wheel: zipfile.ZipFile) -> None:
    call = from_the_wheel(
        wheel, OF_THE_SERVER - {"domain", "handlers", "uprez", "workers"}, "uprez.cli.main", "run", "serve"
    )

    assert call.returncode == 1
    assert call.stderr.count("\n") == 1
    assert "pip install 'uprez[serve]'" in call.stderr


def test_without_its_extra_the_kit_says_what_to_install(wheel: zipfile.ZipFile) -> None:
    call = from_the_wheel(wheel, {"requests", "yaml", "jinja2"}, "conformance.__main__", "main", "list")

    assert call.returncode == 3
    assert call.stderr.count("\n") == 1
    assert "pip install 'uprez[conformance]'" in call.stderr


def test_the_kit_asks_for_none_of_the_servers_packages() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    base = {distribution(need) for need in PROJECT["project"]["dependencies"]}
    kit = {distribution(need) for need in extras["conformance"]}

    assert base == {"rich", "typer"}
    assert not (base | kit) & {distribution(need) for need in extras["core"]}
    assert "uprez" not in kit
    for of_the_service in ("api", "worker"):
        assert "uprez[core]" in extras[of_the_service]


def distribution(need: str) -> str:
    return re.split(r"[\[><= ]", need)[0].lower()


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
    wanted = {distribution(need) for group in [PROJECT["project"]["dependencies"], *groups] for need in group}
    assert wanted - {"uprez"} - pinned == set()
