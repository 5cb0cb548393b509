"""The clock on the wall and the dice of the operating system."""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class SystemRandomSource:
    def token(self, count: int) -> str:
        return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(count))
