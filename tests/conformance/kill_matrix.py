"""Run the whole kit against every mutant and against the server without a fault, and write the page."""

from __future__ import annotations

import os
import resource
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

from run_kit import CLAIMED, check_server, failures

from conformance.catalogue import requirements
from conformance.verdicts import Verdict
from independent.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mutants import Mutant

_MAX_MEMORY_BYTES = 4 * 2**30
_RUNS_PER_PROCESS = 8
_HEAD = """# Mutants

The mutants test the conformance kit. Each mutant is the server of `tests/conformance/independent` with one fault.
Every requirement in the second column must fail on the mutant; the test suite checks this for each mutant.
`tox run -e mutants` runs the whole kit against each mutant. It writes this page and fills the last column: the number
of other requirements that failed, by family.
"""


@dataclass(frozen=True)
class Row:
    """One mutant under the whole kit."""

    mutant: Mutant
    found_by: frozenset[str]
    kit_errors: tuple[str, ...]  # requirements whose check raised an unexpected exception

    @property
    def survived(self) -> list[str]:
        """Return the requirements of the mutant that did not fail."""
        return [name for name in self.mutant.kills if name not in self.found_by]


@dataclass(frozen=True)
class CleanRuns:
    """The runs against the server without a fault."""

    seeds: Sequence[int]
    verdicts: int
    false_alarms: tuple[str, ...]


def matrix(mutants: Iterable[Mutant]) -> list[Row]:
    with _processes() as processes:
        return list(processes.map(_row, mutants))


def clean_runs(seeds: Sequence[int]) -> CleanRuns:
    with _processes() as processes:
        runs = list(processes.map(_clean_run, seeds))
    alarms = tuple(alarm for _, found in runs for alarm in found)
    return CleanRuns(seeds, sum(verdicts for verdicts, _ in runs), alarms)


def page(rows: list[Row], clean: CleanRuns) -> str:
    levels = Counter(one.level for one in requirements())
    counted = (
        f"{len(rows)} mutants, {levels.total()} requirements, {levels['MUST']} of them MUST; "
        f"{sum(bool(row.survived) for row in rows)} mutants survived.\n"
        f"The server without a fault, {len(clean.seeds)} seeds: {clean.verdicts} verdicts, "
        f"{len(clean.false_alarms)} false alarms.\n"
    )
    table = ["| mutant | found by | also by |", "| --- | --- | --- |"]
    return "\n".join([_HEAD, counted, *table, *map(_line, rows)]) + "\n"


def listed(text: str) -> dict[str, tuple[str, ...]]:
    """Return the requirements of each mutant in the text of the page."""
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    return {cell[0].removeprefix("| "): tuple(cell[1].split(", ")) for cell in cells}


def _processes() -> ProcessPoolExecutor:
    """Return one process more than there are cores, because a run waits half of its time.

    Processes are replaced after a few runs, because they keep all exchanges in memory.
    """
    return ProcessPoolExecutor(
        (os.cpu_count() or 1) + 1, get_context("spawn"), _bound_memory, max_tasks_per_child=_RUNS_PER_PROCESS
    )


def _bound_memory() -> None:
    """Limit the memory: mutants that accept huge images would otherwise exhaust the machine."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))


def _clean_run(seed: int) -> tuple[int, list[str]]:
    """Return the number of verdicts, and a line for each that is not passed."""
    with Server() as server:
        found = check_server(server, seed=seed)
    return len(found.results), [f"seed {seed}: {complaint}" for complaint in failures(found)]


def _row(mutant: Mutant) -> Row:
    with mutant.server() as server:
        # Short timeouts, because many checks wait for work that never ends. One second of generated requests is one
        # whole round.
        generated = 1 if mutant.module == "gen" else 0
        # The server has no extensions of Uprez, except in mutants of an extension.
        added = {one.id for one in requirements() if one.profile == "extensions"} & set(mutant.kills)
        claimed = (*CLAIMED, *(["extensions"] if added else []))
        found = check_server(
            server, profiles=claimed, work_timeout=3, timeout=10, max_wait=3, fuzz_seconds=generated
        )
    by = {
        verdict: [result.requirement.id for result in found.results if result.verdict is verdict]
        for verdict in Verdict
    }
    return Row(mutant, frozenset(by[Verdict.FAIL]), tuple(by[Verdict.ERROR]))


def _line(row: Row) -> str:
    others = Counter(name.partition("-")[0] for name in sorted(row.found_by - set(row.mutant.kills)))
    besides = ", ".join(f"{family} {count}" for family, count in others.items())
    return f"| {row.mutant.name} | {', '.join(row.mutant.kills)} | {besides} |"
