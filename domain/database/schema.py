"""The database's schema: bringing it up to date, and refusing one that we do not know."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from domain.errors import Unavailable, UprezError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from domain.database.unit_of_work import Database

_UPGRADE_LOCK = 0x55505245  # «UPRE»: any number that nobody else who uses this database takes


class SchemaError(UprezError):
    """The database has another schema than this release works with."""

    code = "schema_unknown"


def upgrade(database: Database) -> None:
    """Forward to this release's schema; nothing happens if it is already there. Raises Unavailable."""
    config = _config()
    with _begun(database) as connection:
        config.attributes["connection"] = connection
        if connection.dialect.name == "postgresql":
            # An index on a large table takes longer than any client would wait.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            _wait_for_the_turn(connection)
        command.upgrade(config, "head")
        connection.commit()


def require_current(database: Database) -> None:
    """Raises SchemaError, with what to do, and Unavailable."""
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    with _begun(database) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != wanted:
        raise SchemaError(
            f"The database is at schema {found or 'none'}, this release needs {wanted}. Run: uprez db upgrade"
        )


def _wait_for_the_turn(connection: Connection) -> None:
    """One upgrade at a time, until its transaction ends; the next one finds nothing left to do.

    For another upgrade one waits as long as it takes, for a table no longer than anybody.
    """
    patience = connection.execute(text("SHOW lock_timeout")).scalar_one()
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
    connection.execute(select(func.set_config("lock_timeout", patience, True)))


@contextmanager
def _begun(database: Database) -> Iterator[Connection]:
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(database.engine.connect())
            connection.begin()
        except DBAPIError as reason:
            raise Unavailable(f"The database cannot be reached: {reason.orig}") from reason
        yield connection


def _config() -> Config:
    config = Config()
    folder = Path(__file__).with_name("migrations")
    config.set_main_option("script_location", str(folder).replace("%", "%%"))  # it interpolates
    return config
