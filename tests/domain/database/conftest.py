from __future__ import annotations

from typing import Any, Self

import pytest


class RecordingConnection:
    """A connection that finds no row and keeps the last statement as ``statement``."""

    statement: Any

    def execute(self, statement: Any, parameters: Any = None) -> Self:
        self.statement = statement
        return self

    def one_or_none(self) -> None:
        return None


@pytest.fixture
def recording_connection() -> RecordingConnection:
    """Provide a connection that finds no row and keeps the last statement as ``statement``."""
    return RecordingConnection()
