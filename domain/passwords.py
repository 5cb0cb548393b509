"""Passwords: what makes one acceptable, and argon2id (RFC 9106) for keeping them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from domain.errors import FieldProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_LENGTH = 8
MAX_LENGTH = 1024
"""Nobody types more; hashing a megabyte for a stranger is work that we refuse."""


def password_problems(password: str, confirmation: str | None) -> Iterator[FieldProblem]:
    if len(password) < MIN_LENGTH:
        yield FieldProblem("password", "min_characters", {"minimum": MIN_LENGTH})
    if len(password) > MAX_LENGTH:
        yield FieldProblem("password", "max_characters", {"maximum": MAX_LENGTH})
    # Letters of every script that has both cases: Ü and Я are as good as U.
    if not (any(map(str.islower, password)) and any(map(str.isupper, password))):
        yield FieldProblem("password", "mixed_case")
    if not re.search(r"[0-9]", password):
        yield FieldProblem("password", "number_in")
    if confirmation is not None and password != confirmation:
        yield FieldProblem("password", "confirmed")


class Passwords:
    """Hashing costs tens of milliseconds of CPU on purpose: never call it on an event loop."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        # Checked when there is no account, so that an unknown address takes as long as a wrong password.
        self._nobody = self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def matches(self, password: str, password_hash: str | None) -> bool:
        """False for None, after the same work."""
        if len(password) > MAX_LENGTH:
            return False
        try:
            self._hasher.verify(password_hash or self._nobody, password)
        except VerificationError:
            return False
        return password_hash is not None
