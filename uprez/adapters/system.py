"""The clock and the random source of the operating system."""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime


class SystemClock:
    """The Clock port on the system clock."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)


class SystemRandomSource:
    """The RandomSource port on the random numbers of the operating system."""

    def token(self, count: int) -> str:
        """Return ``count`` random ASCII letters and digits."""
        return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(count))
