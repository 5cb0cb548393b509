from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql

from domain.database.batch_repository import Batches


# Two images that end at once would otherwise both increment the same value of the batch's counters.
def test_locked_batch_is_selected_for_update(recording_connection: Any) -> None:
    assert Batches(recording_connection).locked(1) is None
    statement = recording_connection.statement
    assert str(statement.compile(dialect=postgresql.dialect())).endswith(" FOR UPDATE")


def test_image_outside_of_a_batch_runs_no_batch_query(recording_connection: Any) -> None:
    assert Batches(recording_connection).locked(None) is None
    assert not hasattr(recording_connection, "statement")
