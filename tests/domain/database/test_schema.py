from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import OperationalError

from domain.database import schema, unit_of_work
from domain.database.schema import SchemaError
from domain.database.tables import metadata
from domain.database.unit_of_work import Database
from domain.errors import Unavailable
from project_root import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

NOW = "2026-11-22 12:30:15.123456"


@pytest.fixture
def empty(new_url: Callable[[], str]) -> Iterator[Database]:
    """Provide a database without tables."""
    database = Database(new_url())
    yield database
    database.close()


def definitions(engine: Engine) -> dict[str, Any]:
    """Return the definition of each of our tables and indexes by name, in a normalized order."""
    if engine.dialect.name != "sqlite":
        return _inspected(engine)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    return {
        name: sorted(part.strip() for part in re.split(r",\s+(?![^()]*\))|\n", re.sub(r"[ \t]+", " ", sql)))
        for name, sql in rows
        if not name.startswith(("alembic_", "sqlite_"))
    }


def _inspected(engine: Engine) -> dict[str, Any]:
    found = inspect(engine)
    return {
        name: {
            "columns": sorted(
                (each["name"], str(each["type"]), each["nullable"], each.get("identity"), each["default"])
                for each in found.get_columns(name)
            ),
            "key": found.get_pk_constraint(name),
            "references": sorted(map(str, found.get_foreign_keys(name))),
            "unique": sorted(map(str, found.get_unique_constraints(name))),
            "indexes": sorted(map(str, found.get_indexes(name))),
        }
        for name in found.get_table_names()
        if not name.startswith("alembic_")
    }


@pytest.mark.both_databases
def test_migrations_create_exactly_the_declared_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


# Alembic does not compare AUTOINCREMENT, names of keys and ON DELETE.
@pytest.mark.both_databases
def test_migrated_definitions_match_the_declared_tables(database: Database, empty: Database) -> None:
    metadata.create_all(empty.engine)
    created, migrated = definitions(empty.engine), definitions(database.engine)
    assert migrated.keys() == created.keys()
    for name, lines in created.items():
        assert migrated[name] == lines


# Requests have a short statement timeout, but creating an index on a large table can take longer.
def test_migration_has_no_statement_timeout(postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_of_work, "_BUSY_SECONDS", 0.05)
    database = Database(postgres.new_database())

    @event.listens_for(database.engine, "before_cursor_execute")
    def _delay(_connection: Any, cursor: Any, statement: str, *_more: Any) -> None:
        if "CREATE TABLE images" in statement:
            cursor.execute("SELECT pg_sleep(0.2)")

    schema.upgrade(database)
    schema.require_current(database)
    with database.engine.connect() as connection:  # the same connection, from the pool
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "50ms"
    database.close()


_UPGRADE = """
import sys
from domain.database import schema, unit_of_work
unit_of_work._BUSY_SECONDS = 0.05
schema.upgrade(unit_of_work.Database(sys.argv[1]))
"""


# Several machines that start at once would all create the same tables.
def test_concurrent_upgrade_waits_for_the_first(postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_of_work, "_BUSY_SECONDS", 0.05)
    url = postgres.new_database()
    database = Database(url)
    others: list[subprocess.Popen[bytes]] = []
    lock_timeouts = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def _start_second_upgrade(_connection: Any, cursor: Any, statement: str, *_more: Any) -> None:
        if "CREATE TABLE images" not in statement:
            return
        lock_timeouts.append(cursor.connection.execute("SHOW lock_timeout").fetchone())
        others.append(subprocess.Popen([sys.executable, "-c", _UPGRADE, url], cwd=ROOT))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        deadline = time.monotonic() + 60
        while cursor.execute(waiting).fetchone() == (0,):
            assert time.monotonic() < deadline, "no upgrade waits"
        cursor.execute("SELECT pg_sleep(0.2)")  # for longer than the lock timeout of tables

    schema.upgrade(database)
    (other,) = others
    assert other.wait() == 0
    schema.require_current(database)
    assert lock_timeouts == [("50ms",)]
    database.close()


# Images that another process writes after the count would be missing from it.
def test_images_cannot_change_while_they_are_counted(postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_of_work, "_BUSY_SECONDS", 0.05)
    url = postgres.new_database()
    database, another = Database(url), Database(url)
    with database.engine.begin() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    counted = []

    @event.listens_for(database.engine, "after_cursor_execute")
    def _write(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "INSERT INTO image_counts" in statement:
            counted.append(statement)
            with another.engine.begin() as connection, pytest.raises(OperationalError, match="timeout"):
                connection.execute(text("UPDATE images SET status = 'failed'"))

    schema.upgrade(database)
    assert len(counted) == 1
    database.close()
    another.close()


# During an update, one machine already has the new schema while another still runs the previous release.
@pytest.mark.both_databases
def test_images_of_the_previous_release_have_no_model_choice(empty: Database) -> None:
    with empty.engine.begin() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(
            text(
                "INSERT INTO accounts (id, name, email, password_hash, plan, created_at, updated_at)"
                " VALUES (1, 'Jane', 'jane@example.com', '', 'free', :now, :now)"
            ),
            {"now": NOW},
        )
        _insert_image_by_0003(connection, 1)
    schema.upgrade(empty)
    with empty.engine.begin() as connection:
        _insert_image_by_0003(connection, 2)
    with empty.reading() as work:
        found = [work.images.get(image_id) for image_id in (1, 2)]
    assert [image and (image.id, image.model_choice) for image in found] == [(1, None), (2, None)]


def _insert_image_by_0003(connection: Connection, image_id: int) -> None:
    values = {
        "id": image_id,
        "account_id": 1,
        "original_filename": "photo.png",
        "original_key": f"originals/{image_id}.png",
        "original_size": 70,
        "original_width": 8,
        "original_height": 6,
        "picture_format": "png",
        "scale_factor": 2,
        "api_request": True,
        "status": "pending",
        "attempt": 0,
        "lost": 0,
        "woken_at": NOW,
        "progress": 0,
        "quota_month": "2026-11",
        "created_at": NOW,
        "updated_at": NOW,
    }
    connection.execute(
        text(f"INSERT INTO images ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})"),
        values,
    )


@pytest.mark.both_databases
def test_current_database_is_accepted_and_unchanged(database: Database, account: Any) -> None:
    before = definitions(database.engine)
    schema.require_current(database)
    schema.upgrade(database)
    schema.require_current(database)
    assert definitions(database.engine) == before
    with database.reading() as work:
        assert work.accounts.get(account.id) == account


@pytest.mark.both_databases
def test_empty_database_is_refused_with_the_command_to_run(empty: Database) -> None:
    with pytest.raises(SchemaError, match=r"is at schema none, .* needs \d{4}\. Run: uprez db upgrade"):
        schema.require_current(empty)
    schema.upgrade(empty)
    schema.require_current(empty)


# After a downgrade, an older release must not write to a schema that it does not know.
@pytest.mark.both_databases
def test_schema_of_a_later_release_is_refused(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="is at schema 9999, this release needs"):
        schema.require_current(database)


def test_unreachable_database_raises_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'uprez.sqlite3'}")
    with pytest.raises(Unavailable, match="cannot be reached"):
        schema.require_current(database)
    with pytest.raises(Unavailable, match="cannot be reached"):
        schema.upgrade(database)
    database.close()


# A failed migration must leave the database unchanged, so that it can be repeated.
@pytest.mark.both_databases
def test_failed_migration_changes_nothing(empty: Database) -> None:
    with empty.engine.begin() as connection:
        connection.execute(text("CREATE TABLE quota_usage (mine INTEGER)"))
    before = definitions(empty.engine)
    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(empty)
    assert definitions(empty.engine) == before


def test_migrations_are_linear_and_forward_only() -> None:
    scripts = ScriptDirectory.from_config(schema._config())
    assert len(scripts.get_heads()) == 1
    revisions = list(scripts.walk_revisions())
    assert [each.revision for each in revisions] == [
        f"{number:04d}" for number in range(len(revisions), 0, -1)
    ]
    assert not any(hasattr(each.module, "downgrade") for each in revisions)


# Alembic interpolates "%" in its settings, and a folder name may contain one.
def test_migrations_are_found_below_a_percent_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "100%free"
    folder.mkdir()
    (folder / "migrations").symlink_to(Path(schema.__file__).with_name("migrations"))
    monkeypatch.setattr(schema, "__file__", str(folder / "schema.py"))
    assert ScriptDirectory.from_config(schema._config()).get_current_head()
