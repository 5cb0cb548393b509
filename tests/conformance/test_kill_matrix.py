from __future__ import annotations

import os

from kill_matrix import listed, matrix, page, quiet

from mutants import every_mutant
from project_root import ROOT

PAGE = ROOT / "docs" / "conformance" / "mutants.md"
SEEDS = range(20)


# With UPREZ_TEST_KILL_MATRIX=1 the whole kit is run against each mutant, which takes its time, and the page is written.
def test_the_page_lists_every_mutant_and_what_finds_it() -> None:
    if os.environ.get("UPREZ_TEST_KILL_MATRIX"):
        rows, calm = matrix(every_mutant()), quiet(SEEDS)
        PAGE.write_text(page(rows, calm), "utf-8")
        assert {row.mutant.name: row.survived for row in rows if row.survived} == {}
        assert {row.mutant.name: row.stumbled for row in rows if row.stumbled} == {}
        assert calm.alarms == ()

    told = listed(PAGE.read_text("utf-8"))
    assert told == {mutant.name: mutant.kills for mutant in every_mutant()}, (
        "make it anew: tox run -e mutants"
    )
