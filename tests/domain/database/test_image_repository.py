from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite

from domain.database.image_repository import Images
from domain.database.unit_of_work import Database


# PostgreSQL has concurrent writers: two requests that delete one pending image would both refund its quota if
# neither of them locked the row.
def test_locked_image_is_selected_for_update_on_postgresql(recording_connection: Any) -> None:
    assert Images(recording_connection).locked(1) is None
    statement = recording_connection.statement
    assert str(statement.compile(dialect=postgresql.dialect())).endswith(" FOR UPDATE")
    assert "FOR" not in str(statement.compile(dialect=sqlite.dialect()))


def test_get_image_does_not_lock_the_row(recording_connection: Any) -> None:
    assert Images(recording_connection).get(1) is None
    assert "FOR UPDATE" not in str(recording_connection.statement.compile(dialect=postgresql.dialect()))


# Workers run this query before every image of a batch, however many rows the table has.
def test_single_images_query_uses_the_index_of_unfinished(database: Database) -> None:
    with database.engine.connect() as connection:
        statements: list[str] = []
        event.listen(
            connection,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, *_: statements.append(statement),
        )
        Images(connection).claimable_single_ids(now=datetime(2026, 11, 22, tzinfo=UTC))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statements[-1]}", ("2026-11-22",))
        assert "USING INDEX ix_images_line" in str(plan.all())
