"""Every requirement finds what it is there to find: each mutant dies by each of the requirements it names."""

from __future__ import annotations

import pytest
from run_kit import check_server

from conformance.catalogue import requirements
from conformance.runner import Exit
from conformance.verdicts import Verdict
from mutants import Mutant, every_mutant

# One round of generated requests, always the same; on a very busy machine it is cut short, and gets longer.
FUZZ_SECONDS = (1, 160)


@pytest.mark.parametrize("mutant", every_mutant(), ids=lambda mutant: mutant.name)
def test_a_mutant_is_found(mutant: Mutant) -> None:
    for seconds in FUZZ_SECONDS if mutant.module == "gen" else (0,):
        with mutant.server() as server:
            found = check_server(server, only=mutant.kills, work_timeout=10, fuzz_seconds=seconds)
        verdicts = {result.requirement.id: (result.verdict, result.message) for result in found.results}
        missed = {name: said for name, said in verdicts.items() if said[0] is not Verdict.FAIL}
        if not missed:
            break

    assert set(verdicts) == set(mutant.kills)
    assert missed == {}
    if any(result.requirement.level == "MUST" for result in found.results):
        assert found.exit is Exit.NOT_CONFORMANT


def test_catalogue_and_mutants_name_each_other() -> None:
    named = {(one.id, name) for one in requirements() for name in one.mutants}
    registered = {(kill, mutant.name) for mutant in every_mutant() for kill in mutant.kills}

    assert sorted(named - registered) == [], "in the catalogue alone"
    assert sorted(registered - named) == [], "in the mutants alone"


def test_every_must_has_a_mutant() -> None:
    assert [one.id for one in requirements() if one.level == "MUST" and not one.mutants] == []
