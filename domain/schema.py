"""The database's schema: bringing it up to date, and refusing one that we do not know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from domain.errors import Unavailable, UprezError

if TYPE_CHECKING:
    from domain.unit_of_work import Database


class SchemaError(UprezError):
    """The database has another schema than this release works with."""

    code = "schema_unknown"


def upgrade(database: Database) -> None:
    """Forward to this release's schema; nothing happens if it is already there."""
    config = _config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def require_current(database: Database) -> None:
    """Raises SchemaError, with what to do."""
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    try:
        with database.engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
    except DBAPIError as reason:
        raise Unavailable(f"The database cannot be reached: {reason.orig}") from reason
    if found != wanted:
        raise SchemaError(
            f"The database is at schema {found or 'none'}, this release needs {wanted}. Run: uprez db upgrade"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config
