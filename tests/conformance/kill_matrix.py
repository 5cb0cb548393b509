"""Which requirements find which mutants, and whether any of them complains of a server without a fault."""

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

_MOST_MEMORY, _MOST_RUNS = 4 * 2**30, 8  # bytes, and runs, of each process
_HEAD = """# Mutants

Who tests the tests? Each mutant is the small server of `tests/conformance/independent` with one fault, and each is
found by every requirement that it is there for. Here the whole kit was run against each of them; the last column
counts the requirements of each family that found it besides.

Made by `tox run -e mutants`. Every run of the tests has each mutant found by its own requirements, and compares the
first two columns with the code.
"""


@dataclass(frozen=True)
class Row:
    """One mutant under the whole kit."""

    mutant: Mutant
    found_by: frozenset[str]
    stumbled: tuple[str, ...]  # requirements in which the kit itself failed

    @property
    def survived(self) -> list[str]:
        """The requirements that should have found it, and did not."""
        return [name for name in self.mutant.kills if name not in self.found_by]


@dataclass(frozen=True)
class Quiet:
    """Runs against the server without a fault."""

    seeds: Sequence[int]
    verdicts: int
    alarms: tuple[str, ...]


def matrix(mutants: Iterable[Mutant]) -> list[Row]:
    with _processes() as processes:
        return list(processes.map(_row, mutants))


def quiet(seeds: Sequence[int]) -> Quiet:
    with _processes() as processes:
        runs = list(processes.map(_quiet, seeds))
    alarms = tuple(alarm for _, found in runs for alarm in found)
    return Quiet(seeds, sum(verdicts for verdicts, _ in runs), alarms)


def page(rows: list[Row], calm: Quiet) -> str:
    levels = Counter(one.level for one in requirements())
    counted = (
        f"{len(rows)} mutants, {levels.total()} requirements of which {levels['MUST']} are a MUST; "
        f"{sum(bool(row.survived) for row in rows)} mutants survived.\n"
        f"The server without a fault, with {len(calm.seeds)} seeds: {calm.verdicts} verdicts, "
        f"{len(calm.alarms)} false alarms.\n"
    )
    table = ["| mutant | found by | also by |", "| --- | --- | --- |"]
    return "\n".join([_HEAD, counted, *table, *map(_line, rows)]) + "\n"


def listed(text: str) -> dict[str, tuple[str, ...]]:
    """Mutants and the requirements they are there for, as the page has them."""
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    return {cell[0].removeprefix("| "): tuple(cell[1].split(", ")) for cell in cells}


def _processes() -> ProcessPoolExecutor:
    """One more than there are cores: a run waits half of its time. What it sent stays in memory: seldom for long."""
    return ProcessPoolExecutor(
        (os.cpu_count() or 1) + 1, get_context("spawn"), _bound_memory, max_tasks_per_child=_MOST_RUNS
    )


def _bound_memory() -> None:
    """Servers that take vast pictures would fill all of it, and be killed together with the kit."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))


def _quiet(seed: int) -> tuple[int, list[str]]:
    """How many verdicts there were, and which were complaints."""
    with Server() as server:
        found = check_server(server, seed=seed)
    return len(found.results), [f"seed {seed}: {complaint}" for complaint in failures(found)]


def _row(mutant: Mutant) -> Row:
    with mutant.server() as server:
        # What never ends is to be given up soon: it is asked for again by many. A second of generated requests is
        # one whole round of them.
        generated = 1 if mutant.module == "gen" else 0
        # The small server has none of Uprez's additions, but for the mutants that have one with a fault.
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
