"""The schema of the database: upgrade it, and require the version that this release needs."""

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

_UPGRADE_LOCK = (
    0x55505245  # "UPRE" in ASCII: an advisory lock number that no other user of the database should use
)


class SchemaError(UprezError):
    """The database's schema is not the one that this release needs."""

    code = "schema_unknown"


def upgrade(database: Database) -> None:
    """Upgrade the database to this release's schema, if it is older, in one transaction.

    On PostgreSQL it waits, without a timeout, for an upgrade by another process. Raise Unavailable if the
    database cannot be reached.
    """
    config = _config()
    with _transaction(database) as connection:
        config.attributes["connection"] = connection
        if connection.dialect.name == "postgresql":
            # Creating an index on a large table takes longer than the timeout of requests.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            _lock_upgrade(connection)
        command.upgrade(config, "head")
        connection.commit()


def require_current(database: Database) -> None:
    """Raise SchemaError if the schema is not this release's, with the command to run; also raise Unavailable."""
    required = ScriptDirectory.from_config(_config()).get_current_head()
    with _transaction(database) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != required:
        raise SchemaError(
            f"The database is at schema {found or 'none'}, this release needs {required}. Run: uprez db upgrade"
        )


def _lock_upgrade(connection: Connection) -> None:
    """Wait until no other process upgrades the database, and lock the upgrade until the transaction ends.

    The wait for another upgrade has no timeout; the usual lock timeout applies to tables.
    """
    lock_timeout = connection.execute(text("SHOW lock_timeout")).scalar_one()
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
    connection.execute(select(func.set_config("lock_timeout", lock_timeout, True)))


@contextmanager
def _transaction(database: Database) -> Iterator[Connection]:
    """Provide a connection within a transaction, which rolls back unless the caller commits it.

    Raise Unavailable if the database cannot be reached; errors of the ``with`` block pass.
    """
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(database.engine.connect())
            connection.begin()
        except DBAPIError as reason:
            raise Unavailable(f"The database cannot be reached: {reason.orig}") from reason
        yield connection


def _config() -> Config:
    """Return Alembic's configuration for this package's migrations, without a database URL."""
    config = Config()
    folder = Path(__file__).with_name("migrations")
    config.set_main_option(
        "script_location", str(folder).replace("%", "%%")
    )  # Alembic interpolates the value
    return config
