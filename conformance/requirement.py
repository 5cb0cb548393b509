"""One requirement of the catalogue, and the profiles that requirements belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PROFILES = ("core", "accounts", "batches", "limits", "security", "extensions", "generated")


@dataclass(frozen=True)
class Requirement:
    """One thing that is asked of a server. ``id`` is never renumbered, and never used again for another.

    ``pointer`` leads into ``openapi.yaml``, to where ``sentence`` stands. ``covers`` are the documented answers
    that it is the business of (``GET /images 200``); ``mutants`` the faults that must be found by it; ``needs``
    what the caller has to give: token-b, credentials. ``writes``: it makes or deletes something.
    """

    id: str
    title: str
    level: Literal["MUST", "SHOULD"]
    profile: str
    pointer: str
    sentence: str
    why: str
    how: str
    fails: str
    since: str = "0.1.0"
    needs: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()
    mutants: tuple[str, ...] = ()
    writes: bool = True

    @property
    def family(self) -> str:
        return self.id.partition("-")[0]
