from __future__ import annotations

import os

from kill_matrix import clean_runs, listed, matrix, page

from mutants import every_mutant
from project_root import ROOT

PAGE = ROOT / "docs" / "conformance" / "mutants.md"
SEEDS = range(20)


# UPREZ_TEST_KILL_MATRIX=1 runs the whole kit against each mutant, for up to an hour, and writes the page.
def test_page_lists_every_mutant() -> None:
    if os.environ.get("UPREZ_TEST_KILL_MATRIX"):
        rows, clean = matrix(every_mutant()), clean_runs(SEEDS)
        PAGE.write_text(page(rows, clean), "utf-8")
        assert {row.mutant.name: row.survived for row in rows if row.survived} == {}
        assert {row.mutant.name: row.kit_errors for row in rows if row.kit_errors} == {}
        assert clean.false_alarms == ()

    on_page = listed(PAGE.read_text("utf-8"))
    assert on_page == {mutant.name: mutant.kills for mutant in every_mutant()}, "run: tox run -e mutants"
