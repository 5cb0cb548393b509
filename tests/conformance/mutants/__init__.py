"""Mutants: servers with one fault each, and the requirements that must fail on them."""

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
    """A server with one fault. Each requirement in ``kills`` must fail on it; ``module`` is where it is defined."""

    name: str
    kills: tuple[str, ...]
    server: type[Server]
    module: str


def mutant(name: str, kills: Sequence[str]) -> Callable[[type[Server]], type[Server]]:
    """Return a decorator that registers a server as a mutant. Raise ValueError if the name is in use."""

    def register(server: type[Server]) -> type[Server]:
        if name in _registered:
            raise ValueError(f"The mutant name {name} is in use. Choose another name.")
        _registered[name] = Mutant(name, tuple(kills), server, server.__module__.rpartition(".")[2])
        return server

    return register


@cache
def every_mutant() -> tuple[Mutant, ...]:
    """Return the mutants of all modules of this package, sorted by requirement and name."""
    for module in sorted(module.name for module in iter_modules(__path__)):
        import_module(f"{__name__}.{module}")
    return tuple(sorted(_registered.values(), key=lambda found: (found.kills, found.name)))
