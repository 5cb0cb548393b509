"""The page about private members of other projects, compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from project_root import ROOT

PAGE = (ROOT / "docs" / "decisions" / "0011-private-members-of-other-projects.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| project"))
]
PACKAGES = ("conformance", "domain", "handlers", "uprez", "workers")
SOURCES = {
    path.relative_to(ROOT): path.read_text("utf-8")
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}


def names(cell: str) -> set[str]:
    """Return the last part of each name in backticks."""
    return {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", cell)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[1][:30]}")
def test_listed_member_is_used_and_tested(row: list[str]) -> None:
    _project, members, used_in, _reason, noticed_by = row
    places = re.findall(r"`([^`]+)`", used_in)
    code = "".join(text for path, text in SOURCES.items() if any(map(path.is_relative_to, places)))

    assert {name for name in names(members) if not re.search(rf"\b{name}\b", code)} == set()
    assert noticed_by == "mypy" or (ROOT / noticed_by.strip("`")).exists()


def test_every_private_access_is_listed() -> None:
    listed = {Path(place) for row in ROWS for place in re.findall(r"`([^`]+)`", row[2])}
    private = {path for path, text in SOURCES.items() if "noqa: SLF001" in text}

    assert {path for path in private if not {path, *path.parents} & listed} == set()
