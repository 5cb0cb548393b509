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

# The run order: first the families that the others depend on.
FAMILIES = ("env", "auth", "authz", "job", "img", "size", "page", "batch", "lim", "del", "url", "time", "hdr", "gen")  # fmt: skip

_PACKAGE = "conformance.requirements"
_checks: dict[str, Check] = {}


def check(requirement_id: str) -> Callable[[Check], Check]:
    """Return a decorator that registers a function as the check of a requirement and returns it unchanged.

    The function returns on success and raises otherwise. Raise ValueError for a second check.
    """

    def register(function: Check) -> Check:
        """Store the function as the requirement's check and return it. Raise ValueError for a second one."""
        if requirement_id in _checks:
            raise ValueError(f"{requirement_id} has two checks")
        _checks[requirement_id] = function
        return function

    return register


def check_for(requirement: Requirement) -> Check:
    """Return the function that checks the requirement. Raise KeyError before ``requirements`` was called."""
    return _checks[requirement.id]


@cache
def requirements() -> tuple[Requirement, ...]:
    """Import all checks and return all requirements in run order.

    Raise ValueError for a duplicate id, a text without a check or the reverse, a wrong family or an unknown
    profile.
    """
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
    """Return the requirement of a row of the TOML file, with lists as tuples.

    Raise ValueError for a wrong family or an unknown profile, and TypeError for an unknown or missing field.
    """
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    requirement = Requirement(**fields)
    if requirement.family != family.upper():
        raise ValueError(f"{requirement.id} is in {family}.toml")
    if requirement.profile not in PROFILES:
        raise ValueError(f"{requirement.id} has the unknown profile {requirement.profile}")
    return requirement
