"""Each statement of the API documentation is in the contract, at the place that the table names."""

from __future__ import annotations

import re

import pytest

from conformance.contract import resolve
from project_root import ROOT

PAGE = (ROOT / "docs" / "api-documentation.md").read_text("utf-8")
ROWS = re.findall(r"(?m)^\| (.+?) \| (/\S+) \| (.+) \|$", PAGE)


def test_the_table_is_read() -> None:
    assert len(ROWS) == PAGE.count("\n| ") - 2  # without the two lines of its head


@pytest.mark.parametrize(("statement", "pointer", "words"), ROWS)
def test_statement_is_in_the_contract(statement: str, pointer: str, words: str) -> None:
    found = resolve(pointer)

    text = " ".join(map(str, found)) if isinstance(found, list) else str(found)
    assert words.replace("\\|", "|") in " ".join(text.split()), statement
