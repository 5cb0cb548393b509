"""The catalogue quotes the contract and covers all of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from conformance.catalogue import FAMILIES, requirements
from conformance.contract import operations, resolve
from conformance.requirement import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY = pytest.mark.parametrize("requirement", requirements(), ids=lambda one: one.id)


def documented() -> list[str]:
    """Return the documented responses of every server that a request can cause: ``GET /images 200``."""
    return [
        f"{method} {path} {status}"
        for method, path, operation in operations()
        for status in operation["responses"]
        if status[0] in "24"
    ]


def strings(node: Any) -> Iterator[str]:
    """Yield all texts at and below a node of the contract, with single spaces."""
    if isinstance(node, str):
        yield " ".join(node.split())
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


@EVERY
def test_sentence_is_in_the_contract(requirement: Requirement) -> None:
    sentence = " ".join(requirement.sentence.split())

    assert sentence
    assert any(sentence in text for text in strings(resolve(requirement.pointer))), sentence


@EVERY
def test_requirement_has_complete_texts(requirement: Requirement) -> None:
    assert re.fullmatch("[A-Z]{2,6}-[0-9]{3}", requirement.id)
    assert requirement.level in {"MUST", "SHOULD"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", requirement.since)
    assert not requirement.title.endswith(".")
    for words in (requirement.title, requirement.why, requirement.how, requirement.fails):
        assert words == words.strip()
        assert len(words.split()) > 2
    for words in (requirement.why, requirement.how, requirement.fails):
        assert words.endswith(".")


@EVERY
def test_covered_responses_are_documented(requirement: Requirement) -> None:
    assert set(requirement.covers) <= set(documented())


def test_core_needs_one_token_only() -> None:
    assert [one.id for one in requirements() if one.profile == "core" and one.needs] == []


def test_ids_and_titles_are_unique() -> None:
    for field in ("id", "title"):
        counts = Counter(getattr(one, field) for one in requirements())
        assert [value for value, count in counts.items() if count > 1] == []


def test_every_family_has_requirements() -> None:
    families = {one.family.lower() for one in requirements()}

    assert [family for family in FAMILIES if family not in families] == []


def test_every_documented_response_is_covered() -> None:
    covered = {response for one in requirements() for response in one.covers}
    missing = [response for response in documented() if response not in covered]

    assert missing == [], "no requirement covers:\n" + "\n".join(missing)


def test_number_of_requirements_does_not_shrink() -> None:
    """Ids are never removed, so the number can only grow."""
    levels = Counter(one.level for one in requirements())

    assert levels.total() >= 90
    assert levels["MUST"] >= 70
