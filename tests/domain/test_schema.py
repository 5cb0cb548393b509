from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from domain import schema
from domain.errors import Unavailable
from domain.schema import SchemaError
from domain.tables import metadata
from domain.unit_of_work import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    database = Database(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    yield database
    database.close()


def definitions(engine: Engine) -> dict[str, list[str]]:
    """Name → what SQLite was told, in an order of its own, for every table and index of ours."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    return {
        name: sorted(part.strip() for part in re.split(r",\s+(?![^()]*\))|\n", re.sub(r"[ \t]+", " ", sql)))
        for name, sql in rows
        if not name.startswith(("alembic_", "sqlite_"))
    }


def test_the_migrations_make_exactly_the_tables_that_the_code_speaks_to(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


# What Alembic does not compare: AUTOINCREMENT, names of keys, ON DELETE.
def test_the_migrations_tell_sqlite_the_same_as_the_tables_would(database: Database, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'created.sqlite3'}")
    metadata.create_all(engine)
    created, migrated = definitions(engine), definitions(database.engine)
    engine.dispose()
    assert migrated.keys() == created.keys()
    for name, lines in created.items():
        assert migrated[name] == lines


def test_a_database_that_is_up_to_date_is_accepted_and_left_alone(database: Database, account: Any) -> None:
    before = definitions(database.engine)
    schema.require_current(database)
    schema.upgrade(database)
    schema.require_current(database)
    assert definitions(database.engine) == before
    with database.reading() as work:
        assert work.accounts.get(account.id) == account


def test_an_empty_database_is_refused_with_what_to_do(empty: Database) -> None:
    with pytest.raises(SchemaError, match=r"is at schema none, .* needs \d{4}\. Run: uprez db upgrade"):
        schema.require_current(empty)
    schema.upgrade(empty)
    schema.require_current(empty)


# As after a step back to an older release: it must not write into tables that it does not know.
def test_the_schema_of_a_later_release_is_refused(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="is at schema 9999, this release needs"):
        schema.require_current(database)


def test_a_database_that_cannot_be_reached_is_an_outage(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'uprez.sqlite3'}")
    with pytest.raises(Unavailable, match="cannot be reached"):
        schema.require_current(database)
    with pytest.raises(Unavailable, match="cannot be reached"):
        schema.upgrade(database)
    database.close()


# A migration that fails half-way must leave the database as it was, to be tried again.
def test_a_migration_that_fails_changes_nothing(empty: Database) -> None:
    with empty.engine.begin() as connection:
        connection.execute(text("CREATE TABLE quota_usage (mine INTEGER)"))
    before = definitions(empty.engine)
    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(empty)
    assert definitions(empty.engine) == before


def test_migrations_are_one_line_and_only_go_forward() -> None:
    scripts = ScriptDirectory.from_config(schema._config())
    assert len(scripts.get_heads()) == 1
    revisions = list(scripts.walk_revisions())
    assert [each.revision for each in revisions] == [
        f"{number:04d}" for number in range(len(revisions), 0, -1)
    ]
    assert not any(hasattr(each.module, "downgrade") for each in revisions)


# Alembic reads its settings with «%» for interpolation; folders may have one in their name.
def test_the_migrations_are_found_in_a_folder_with_a_percent_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "100%free"
    folder.mkdir()
    (folder / "migrations").symlink_to(Path(schema.__file__).with_name("migrations"))
    monkeypatch.setattr(schema, "__file__", str(folder / "schema.py"))
    assert ScriptDirectory.from_config(schema._config()).get_current_head()
