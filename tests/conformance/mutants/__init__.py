"""Servers with one fault each, and the requirements that must find it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from independent.server import Server

_registered: dict[str, Mutant] = {}


@dataclass(frozen=True)
class Mutant:
    """``kills`` are the ids of the requirements that each have to fail on it."""

    name: str
    kills: tuple[str, ...]
    server: type[Server]
    module: str


def mutant(name: str, kills: Sequence[str]) -> Callable[[type[Server]], type[Server]]:
    """Marks a subclass of the independent server that breaks one thing."""

    def mark(server: type[Server]) -> type[Server]:
        if name in _registered:
            raise ValueError(f"Two mutants are called {name}.")
        _registered[name] = Mutant(name, tuple(kills), server, server.__module__.rpartition(".")[2])
        return server

    return mark


@cache
def every_mutant() -> tuple[Mutant, ...]:
    """Those of all modules beside this one, in the order of their names."""
    for module in sorted(module.name for module in iter_modules(__path__)):
        import_module(f"{__name__}.{module}")
    return tuple(sorted(_registered.values(), key=lambda one: (one.kills, one.name)))
