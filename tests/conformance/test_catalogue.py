"""The catalogue against the contract: it asks for what stands there, and for all of it."""

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
    """The answers of every server that a request can call forth: ``GET /images 200``."""
    return [
        f"{method} {path} {status}"
        for method, path, operation in operations()
        for status in operation["responses"]
        if status[0] in "24"
    ]


def strings(node: Any) -> Iterator[str]:
    """All texts at and below a node of the contract, each with single spaces."""
    if isinstance(node, str):
        yield " ".join(node.split())
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


@EVERY
def test_a_requirement_stands_in_the_contract(requirement: Requirement) -> None:
    sentence = " ".join(requirement.sentence.split())

    assert sentence
    assert any(sentence in text for text in strings(resolve(requirement.pointer))), sentence


@EVERY
def test_a_requirement_is_told_in_words(requirement: Requirement) -> None:
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
def test_a_requirement_covers_what_is_documented(requirement: Requirement) -> None:
    assert set(requirement.covers) <= set(documented())


def test_core_needs_one_token_only() -> None:
    assert [one.id for one in requirements() if one.profile == "core" and one.needs] == []


def test_ids_and_titles_are_given_once() -> None:
    for field in ("id", "title"):
        counts = Counter(getattr(one, field) for one in requirements())
        assert [value for value, count in counts.items() if count > 1] == []


def test_every_family_asks_something() -> None:
    asked = {one.family.lower() for one in requirements()}

    assert [family for family in FAMILIES if family not in asked] == []


def test_every_documented_answer_is_asked_for() -> None:
    covered = {response for one in requirements() for response in one.covers}
    missing = [response for response in documented() if response not in covered]

    assert missing == [], "no requirement covers:\n" + "\n".join(missing)


def test_there_are_as_many_as_were_promised() -> None:
    """Ids are never taken back, so there can only be more."""
    levels = Counter(one.level for one in requirements())

    assert levels.total() >= 90
    assert levels["MUST"] >= 70
