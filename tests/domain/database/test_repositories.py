from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite

from domain.database.repositories import Batches, Images
from domain.database.unit_of_work import Database


class Recorder:
    """A connection that answers nothing and remembers what it was asked."""

    statement: Any

    def execute(self, statement: Any, parameters: Any = None) -> Self:
        self.statement = statement
        return self

    def one_or_none(self) -> None:
        return None


# Where writers do not wait for each other, whoever reads a row to decide about quota has to hold it: two
# requests that delete one pending image would both give it back.
def test_a_locked_image_is_held_where_the_database_has_many_writers() -> None:
    connection: Any = Recorder()
    assert Images(connection).locked(1) is None
    assert str(connection.statement.compile(dialect=postgresql.dialect())).endswith(" FOR UPDATE")
    assert "FOR" not in str(connection.statement.compile(dialect=sqlite.dialect()))


def test_looking_at_an_image_holds_nobody_up() -> None:
    connection: Any = Recorder()
    assert Images(connection).get(1) is None
    assert "FOR UPDATE" not in str(connection.statement.compile(dialect=postgresql.dialect()))


# Whoever counts an image of a batch reads the counters first: two that end at once would both count from
# the same number.
def test_a_locked_batch_is_held_and_no_image_needs_one() -> None:
    connection: Any = Recorder()
    assert Batches(connection).locked(None) is None
    assert not hasattr(connection, "statement")
    assert Batches(connection).locked(1) is None
    assert str(connection.statement.compile(dialect=postgresql.dialect())).endswith(" FOR UPDATE")


# Workers ask this before every image of a batch, whatever else the table holds.
def test_looking_for_single_images_reads_only_what_is_unfinished(database: Database) -> None:
    with database.engine.connect() as connection:
        asked: list[str] = []
        event.listen(
            connection, "before_cursor_execute", lambda _c, _cursor, statement, *_: asked.append(statement)
        )
        Images(connection).singles(now=datetime(2026, 11, 22, tzinfo=UTC))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[-1]}", ("2026-11-22",))
        assert "USING INDEX ix_images_line" in str(plan.all())
