"""The paths and links in the pages for contributors."""

from __future__ import annotations

import re

import pytest

from project_root import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
        *(ROOT / "docs" / "decisions").glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
    )
)
FOLDERS = "benchmarks|conformance|docs|domain|handlers|tests|uprez|workers"


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_links_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    paths = set(re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", text)) | set(re.findall(r"`(\.ci/\w+)`", text))
    links = {link.partition("#")[0] for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)}

    assert {path for path in paths if not (ROOT / path).exists()} == set()
    assert {link for link in links if not ((ROOT / page).parent / link).exists()} == set()
