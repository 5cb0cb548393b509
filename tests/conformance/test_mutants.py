"""Each mutant fails every requirement that it is registered for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from run_kit import check_server

from conformance.catalogue import requirements
from conformance.runner import Exit
from conformance.verdicts import Verdict
from mutants import Mutant, every_mutant

# One second is one whole round of generated requests. A busy machine may need the longer time.
FUZZ_SECONDS = (1, 160)


def _cases() -> Iterator[Any]:
    """Return the mutants. Those of generated requests, and those whose requirements have an earlier mutant, are slow."""
    covered: set[str] = set()
    for mutant in every_mutant():
        is_slow = mutant.module == "gen" or covered.issuperset(mutant.kills)
        covered.update(mutant.kills)
        yield pytest.param(mutant, id=mutant.name, marks=pytest.mark.slow if is_slow else ())


@pytest.mark.parametrize("mutant", list(_cases()))
def test_mutant_fails_its_requirements(mutant: Mutant) -> None:
    for seconds in FUZZ_SECONDS if mutant.module == "gen" else (0,):
        with mutant.server() as server:
            report = check_server(server, only=mutant.kills, work_timeout=10, fuzz_seconds=seconds)
        verdicts = {result.requirement.id: (result.verdict, result.message) for result in report.results}
        missed = {name: verdict for name, verdict in verdicts.items() if verdict[0] is not Verdict.FAIL}
        if not missed:
            break

    assert set(verdicts) == set(mutant.kills)
    assert missed == {}
    if any(result.requirement.level == "MUST" for result in report.results):
        assert report.exit is Exit.NOT_CONFORMANT


def test_catalogue_and_mutants_match() -> None:
    named = {(requirement.id, name) for requirement in requirements() for name in requirement.mutants}
    registered = {(kill, mutant.name) for mutant in every_mutant() for kill in mutant.kills}

    assert sorted(named - registered) == [], "only in the catalogue"
    assert sorted(registered - named) == [], "only in the mutants"


def test_every_must_has_a_mutant() -> None:
    assert [
        requirement.id
        for requirement in requirements()
        if requirement.level == "MUST" and not requirement.mutants
    ] == []
