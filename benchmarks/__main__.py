"""Run all measurements and write the results as JSON and as a page: ``tox run -e bench``."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path
from typing import Any

import api
import engine
import lists
import login
import memory
import psutil

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "performance.md"
MEASUREMENTS = {"api": api, "lists": lists, "login": login, "memory": memory, "engine": engine}
_MARK = "<!-- written by tox run -e bench -->\n"
_PACKAGES = ("uprez", "connexion", "flask", "gunicorn", "sqlalchemy", "uvicorn", "uvloop", "ncnn")


def machine() -> dict[str, str]:
    """Return the hardware and the versions that the results depend on."""
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
    """Return the results as Markdown, with one section for each measurement."""
    lines = []
    for name, values in results.items():
        lines += [f"## {name}", ""]
        facts = {label: value for label, value in values.items() if not isinstance(value, list)}
        for title in [label for label in values if label not in facts]:
            lines += [f"**{title}**", "", *_table(values[title]), ""]
        lines += ["| | |", "| --- | --- |"]
        for label, value in facts.items():
            parts = value if isinstance(value, dict) else {"": value}
            text = ", ".join(f"{part}: {number}".removeprefix(": ") for part, number in parts.items())
            lines.append(f"| {label} | {text} |")
        lines.append("")
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def main(selected: list[str], *, quick: bool) -> None:
    """Run the selected measurements, or all, and write ``results.json`` and ``docs/performance.md``."""
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    results["machine"] = machine()
    for name in selected or MEASUREMENTS:
        measurement = MEASUREMENTS[name]
        results[name] = engine.measure(quick=quick) if measurement is engine else measurement.measure()
        print(name, json.dumps(results[name], indent=2))
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
        write_page(results)


def write_page(results: dict[str, Any]) -> None:
    """Replace the generated part of ``docs/performance.md``."""
    head = PAGE.read_text("utf-8").partition(_MARK)[0]
    PAGE.write_text(f"{head}{_MARK}\n{page(results)}", "utf-8")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tox run -e bench --", description=__doc__)
    parser.add_argument(
        "name",
        nargs="*",
        choices=[[], *MEASUREMENTS],
        metavar="NAME",
        help=f"measure only this: {', '.join(MEASUREMENTS)}",
    )
    parser.add_argument("--quick", action="store_true", help="run the engine once, on smaller images")
    arguments = parser.parse_args()
    main(arguments.name, quick=arguments.quick)
