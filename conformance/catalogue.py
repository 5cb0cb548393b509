"""Every requirement: its words in ``requirements/*.toml``, its check in the module of the same name beside it."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from conformance.requirement import PROFILES, Requirement

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.kit import Kit

    Check = Callable[[Kit], None]

# In the order in which they run: first whether anything works at all.
FAMILIES = (
    "env",
    "auth",
    "authz",
    "job",
    "img",
    "size",
    "page",
    "batch",
    "lim",
    "del",
    "url",
    "time",
    "hdr",
    "gen",
)

_checks: dict[str, Check] = {}


def check(requirement_id: str) -> Callable[[Check], Check]:
    """Marks the function that checks a requirement: it returns when the server keeps it, and raises otherwise."""

    def mark(function: Check) -> Check:
        if requirement_id in _checks:
            raise ValueError(f"{requirement_id} is checked twice")
        _checks[requirement_id] = function
        return function

    return mark


def check_for(requirement: Requirement) -> Check:
    """Return the function that checks the requirement."""
    return _checks[requirement.id]


@cache
def requirements() -> tuple[Requirement, ...]:
    """All of them, in the order in which they run. Raises ValueError for a catalogue that is not sound."""
    found: list[Requirement] = []
    for family in FAMILIES:
        text = (files("conformance.requirements") / f"{family}.toml").read_text("utf-8")
        import_module(f"conformance.requirements.{_module(family)}")
        found += [_requirement(family, row) for row in tomllib.loads(text)["requirement"]]
    ids = [requirement.id for requirement in found]
    if len(set(ids)) < len(ids):
        raise ValueError("An id stands twice in the catalogue.")
    if set(ids) != set(_checks):
        raise ValueError(f"Without words or without a check: {sorted(set(ids) ^ set(_checks))}")
    return tuple(found)


def _module(family: str) -> str:
    return "deletion" if family == "del" else family  # a keyword of the language


def _requirement(family: str, row: dict[str, Any]) -> Requirement:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    requirement = Requirement(**fields)
    if requirement.family != family.upper():
        raise ValueError(f"{requirement.id} stands in {family}.toml")
    if requirement.profile not in PROFILES:
        raise ValueError(f"{requirement.id} is of no profile: {requirement.profile}")
    return requirement
