"""The files of the wheel, and the imports of its parts."""

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
    """Build the wheel and return it."""
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


def test_wheel_has_every_data_file(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()

    for name in (
        "handlers/openapi.yaml",
        "handlers/samples.yaml",
        "domain/plans.toml",
        "domain/database/migrations/env.py",
        "domain/py.typed",
        "conformance/reports/report.html.j2",
        "conformance/reports/results.schema.json",
        *(f"conformance/requirements/{family}.toml" for family in FAMILIES),
    ):
        assert name in names
    assert wheel.read("conformance/openapi.yaml") == (ROOT / "openapi.yaml").read_bytes()
    assert wheel.read("handlers/openapi.yaml") == (ROOT / "openapi.yaml").read_bytes()
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


# The API must run without ncnn, and a worker without the libraries of the API.
@pytest.mark.parametrize(
    ("imports", "forbidden"),
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
def test_part_imports_only_its_own_libraries(imports: str, forbidden: set[str]) -> None:
    code = f"import sys, {imports}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert forbidden.isdisjoint(loaded.split())


# Runs a function as if some packages were not installed, as after an installation with fewer extras.
SCRIPT = """
import importlib.abc, sys
class MissingPackages(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, MissingPackages())
sys.path.insert(0, {wheel!r})
sys.argv[1:] = {arguments}
import {module}
assert {module}.__file__.startswith({wheel!r})
{module}.{function}()
"""
# Without pydantic-settings, which the validator of OpenAPI schemas also needs.
SERVER_PACKAGES = {
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


def run_from_wheel(
    wheel: zipfile.ZipFile, missing: set[str], module: str, function: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a function from the wheel, in an empty folder and without some packages."""
    assert wheel.filename is not None
    path = wheel.filename
    code = SCRIPT.format(
        names=missing, wheel=path, arguments=list(arguments), module=module, function=function
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=Path(path).parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("explain", "IMG-001"), "both sides are multiplied by it"),
        (("list",), "IMG-001"),
        (("--version",), "uprez-conformance "),
    ],
)
def test_kit_runs_from_the_wheel_without_server_packages(
    wheel: zipfile.ZipFile, arguments: tuple[str, ...], output: str
) -> None:
    call = run_from_wheel(wheel, SERVER_PACKAGES, "conformance.__main__", "main", *arguments)

    assert call.returncode == 0, call.stderr
    assert output in call.stdout


def test_command_without_its_extra_says_what_to_install(wheel: zipfile.ZipFile) -> None:
    call = run_from_wheel(
        wheel, SERVER_PACKAGES - {"domain", "handlers", "uprez", "workers"}, "uprez.cli.main", "run", "serve"
    )

    assert call.returncode == 1
    assert call.stderr.count("\n") == 1
    assert "pip install 'uprez[serve]'" in call.stderr


def test_kit_without_its_extra_says_what_to_install(wheel: zipfile.ZipFile) -> None:
    call = run_from_wheel(wheel, {"requests", "yaml", "jinja2"}, "conformance.__main__", "main", "list")

    assert call.returncode == 3
    assert call.stderr.count("\n") == 1
    assert "pip install 'uprez[conformance]'" in call.stderr


def test_kit_requires_no_server_packages() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    base = {distribution(requirement) for requirement in PROJECT["project"]["dependencies"]}
    kit = {distribution(requirement) for requirement in extras["conformance"]}

    assert base == {"rich", "typer"}
    assert not (base | kit) & {distribution(requirement) for requirement in extras["core"]}
    assert "uprez" not in kit
    for extra in ("api", "worker"):
        assert "uprez[core]" in extras[extra]


def distribution(requirement: str) -> str:
    """Return the name of the distribution in lower case."""
    return re.split(r"[\[><= ]", requirement)[0].lower()


def test_versions_agree() -> None:
    contract = re.search(r"^  version: (\S+)$", (ROOT / "openapi.yaml").read_text("utf-8"), re.MULTILINE)
    changes = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert contract is not None
    assert changes is not None
    assert PROJECT["project"]["version"] == __version__ == contract[1].strip("'\"") == changes[1]


def test_constraints_pin_every_version() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
    pinned = {re.split(r"[=\[]", line)[0] for line in lines}

    assert [line for line in lines if "==" not in line] == []
    groups = [*PROJECT["project"]["optional-dependencies"].values(), *PROJECT["dependency-groups"].values()]
    required = {
        distribution(requirement)
        for group in [PROJECT["project"]["dependencies"], *groups]
        for requirement in group
    }
    assert required - {"uprez"} - pinned == set()
