"""All measurements, one after the other; the results as JSON and as a page: ``tox run -e bench``."""

from __future__ import annotations

import json
import platform
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import api
import lists
import login
import memory
import psutil

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "performance.md"
MEASUREMENTS = {"api": api, "lists": lists, "login": login, "memory": memory}
_MARK = "<!-- written by tox run -e bench -->\n"
_PACKAGES = ("uprez", "connexion", "flask", "gunicorn", "sqlalchemy", "uvicorn", "uvloop")


def machine() -> dict[str, str]:
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    versions = {name: version(name) for name in _PACKAGES}
    return {
        "CPU": f"{cpu}, {psutil.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        **versions,
    }


def page(results: dict[str, Any]) -> str:
    lines = []
    for name, found in results.items():
        lines += [f"## {name}", "", "| | |", "| --- | --- |"]
        for label, value in found.items():
            parts = value if isinstance(value, dict) else {"": value}
            text = ", ".join(f"{part}: {number}".removeprefix(": ") for part, number in parts.items())
            lines.append(f"| {label} | {text} |")
        lines.append("")
    return "\n".join(lines)


def main(chosen: list[str]) -> None:
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    results["machine"] = machine()
    for name in chosen or MEASUREMENTS:
        results[name] = MEASUREMENTS[name].measure()
        print(name, json.dumps(results[name], indent=2))
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
        head = PAGE.read_text("utf-8").partition(_MARK)[0]
        PAGE.write_text(f"{head}{_MARK}\n{page(results)}", "utf-8")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main(sys.argv[1:])
