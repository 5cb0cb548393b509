"""The catalogue of requirements: their texts are in ``requirements/*.toml``, their checks in the modules there."""

from __future__ import annotations

import pkgutil
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

# The run order: first the basics that the others rely on.
FAMILIES = ("env", "auth", "authz", "job", "img", "size", "page", "batch", "lim", "del", "url", "time", "hdr", "gen")  # fmt: skip

_PACKAGE = "conformance.requirements"
_checks: dict[str, Check] = {}


def check(requirement_id: str) -> Callable[[Check], Check]:
    """Register a function as the check of a requirement: it returns on success and raises otherwise."""

    def register(function: Check) -> Check:
        if requirement_id in _checks:
            raise ValueError(f"{requirement_id} has two checks")
        _checks[requirement_id] = function
        return function

    return register


def check_for(requirement: Requirement) -> Check:
    """Return the function that checks the requirement."""
    return _checks[requirement.id]


@cache
def requirements() -> tuple[Requirement, ...]:
    """Return all requirements in run order. Raise ValueError if the catalogue is inconsistent."""
    for module in pkgutil.iter_modules(import_module(_PACKAGE).__path__):
        import_module(f"{_PACKAGE}.{module.name}")
    found: list[Requirement] = []
    for family in FAMILIES:
        text = (files(_PACKAGE) / f"{family}.toml").read_text("utf-8")
        found += [_requirement(family, row) for row in tomllib.loads(text)["requirement"]]
    ids = [requirement.id for requirement in found]
    if len(set(ids)) < len(ids):
        raise ValueError("The catalogue has an id twice.")
    if set(ids) != set(_checks):
        raise ValueError(f"Only a text or only a check exists for: {sorted(set(ids) ^ set(_checks))}")
    return tuple(found)


def _requirement(family: str, row: dict[str, Any]) -> Requirement:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    requirement = Requirement(**fields)
    if requirement.family != family.upper():
        raise ValueError(f"{requirement.id} is in {family}.toml")
    if requirement.profile not in PROFILES:
        raise ValueError(f"{requirement.id} has the unknown profile {requirement.profile}")
    return requirement
