from __future__ import annotations

from typing import Any, Self

from sqlalchemy.dialects import postgresql, sqlite

from domain.repositories import Images


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
