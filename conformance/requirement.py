"""One requirement of the catalogue, and the profiles that requirements belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PROFILES = ("core", "accounts", "batches", "limits", "security", "extensions", "generated")


@dataclass(frozen=True)
class Requirement:
    """One requirement on a server. Its ``id`` never changes and is never reused.

    ``pointer`` is the JSON pointer of the part of ``openapi.yaml`` that contains ``sentence``. ``covers``
    lists the documented responses that it checks (``GET /images 200``), ``mutants`` the faults that it must
    find, ``needs`` the options it requires (token-b, credentials). ``writes`` is true if it creates or
    deletes something.
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
        """Return the letters of the id before the hyphen, such as ``ENV``."""
        return self.id.partition("-")[0]
