"""Servers that hand back another picture than the larger one of what was sent."""

from __future__ import annotations

from independent.records import Sizing
from independent.server import Server
from mutants import mutant


@mutant("the-factor-is-always-two", kills=["IMG-001"])
class FactorIsAlwaysTwo(Server):
    def factor(self, sizing: Sizing) -> int:
        return 2
