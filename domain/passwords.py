"""Passwords: the rules for a new one, and hashing with argon2id (RFC 9106)."""

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
"""Characters. The bound keeps an anonymous client from making the server hash megabytes."""


def password_problems(password: str, confirmation: str | None) -> Iterator[FieldProblem]:
    """Yield an error for each rule that a new password violates; a confirmation of None is not compared."""
    if len(password) < MIN_LENGTH:
        yield FieldProblem("password", "min_characters", {"minimum": MIN_LENGTH})
    if len(password) > MAX_LENGTH:
        yield FieldProblem("password", "max_characters", {"maximum": MAX_LENGTH})
    # Letters of every script with upper and lower case count, for example Ü and Я.
    if not (any(map(str.islower, password)) and any(map(str.isupper, password))):
        yield FieldProblem("password", "mixed_case")
    if not re.search(r"[0-9]", password):
        yield FieldProblem("password", "digit")
    if confirmation is not None and password != confirmation:
        yield FieldProblem("password", "confirmed")


class Passwords:
    """Hashes and verifies passwords, which takes tens of milliseconds of CPU time: never call it on an event loop."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        # Verified if there is no account, so that an unknown address takes as long as a wrong password.
        self._dummy_hash = self._hasher.hash("the password of no account")

    def hash(self, password: str) -> str:
        """Return a salted hash in argon2's encoded form."""
        return self._hasher.hash(password)

    def matches(self, password: str, password_hash: str | None) -> bool:
        """Return whether the password has this hash; without a hash, return False after the same work.

        A password longer than ``MAX_LENGTH`` returns False immediately.
        """
        if len(password) > MAX_LENGTH:
            return False
        try:
            self._hasher.verify(password_hash or self._dummy_hash, password)
        except VerificationError:
            return False
        return password_hash is not None
