from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from domain.database import tables, unit_of_work
from domain.database.unit_of_work import Database
from domain.errors import CommitUncertain, EmailTaken, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.database.unit_of_work import UnitOfWork
    from domain.records import Account

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def add(work: UnitOfWork, email: str = "jane@example.com") -> Account:
    return work.accounts.add(
        name="Jane", email=email, password_hash="-", plan="free", verified_at=None, now=NOW
    )


def count(database: Database) -> int:
    with database.reading() as work:
        return work.accounts.count()


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the timeout of all waits to 50 ms."""
    monkeypatch.setattr(unit_of_work, "_BUSY_SECONDS", 0.05)


# --- commit and rollback


@pytest.mark.both_databases
def test_committed_changes_are_stored(database: Database, reopen_database: Callable[[], Database]) -> None:
    with database.writing() as work:
        add(work)
        work.commit()
    assert count(database) == 1
    assert count(reopen_database()) == 1


@pytest.mark.both_databases
@pytest.mark.parametrize("hold", [True, False])
def test_lost_commit_response_raises_commit_uncertain(
    database: Database, break_commits: Callable[..., None], hold: bool
) -> None:
    break_commits(1, hold=hold)
    with database.writing() as work:
        add(work)
        with pytest.raises(CommitUncertain):
            work.commit()
    assert count(database) == hold


@pytest.mark.both_databases
def test_uncommitted_changes_are_rolled_back(database: Database) -> None:
    with database.writing() as work:
        add(work)
        assert work.accounts.count() == 1
    assert count(database) == 0


@pytest.mark.both_databases
def test_error_rolls_back_and_is_raised(database: Database) -> None:
    def fail() -> None:
        with database.writing() as work:
            add(work)
            raise NotFound

    with pytest.raises(NotFound):
        fail()
    assert count(database) == 0


@pytest.mark.both_databases
def test_changes_after_the_commit_are_rolled_back(database: Database) -> None:
    with database.writing() as work:
        add(work)
        work.commit()
        add(work, "john@example.com")
    assert count(database) == 1


@pytest.mark.both_databases
def test_constraint_violation_is_not_unavailable(database: Database) -> None:
    with database.writing() as work:
        add(work)
        with pytest.raises(EmailTaken):
            add(work)
    with pytest.raises(IntegrityError), database.writing() as work:
        work.tokens.add(account_id=4711, name="x", secret_sha256="x", abilities=[], now=NOW)
    assert count(database) == 0


# --- concurrent transactions


@pytest.mark.both_databases
def test_readers_do_not_wait_and_see_only_committed_data(
    database: Database, reopen_database: Callable[[], Database], short_timeout: None
) -> None:
    with database.writing() as writer:
        add(writer)
        assert count(reopen_database()) == 0
        assert count(database) == 0
        writer.commit()
    assert count(database) == 1


def test_writer_does_not_wait_for_readers(database: Database, short_timeout: None) -> None:
    with database.reading() as reader:
        assert reader.accounts.count() == 0
        with database.writing() as writer:
            add(writer)
            writer.commit()
        assert reader.accounts.count() == 0
    assert count(database) == 1


def test_writer_waits_for_another_writer(database: Database, reopen_database: Callable[[], Database]) -> None:
    def add_john() -> int:
        with other.writing() as work:
            add(work, "john@example.com")
            work.commit()
            return work.accounts.count()

    other = reopen_database()
    with ThreadPoolExecutor(1) as thread:
        with database.writing() as work:
            add(work)
            john = thread.submit(add_john)
            work.commit()
        assert john.result() == 2


# With the driver's own deferred BEGIN, all but one of these would fail with "database is locked" at their first
# write, whatever the timeout.
def test_read_before_write_never_fails_with_a_lock(
    database: Database, reopen_database: Callable[[], Database]
) -> None:
    with database.writing() as work:
        account = add(work)
        work.commit()
    start = Barrier(8)

    def count_up(own_database: Database) -> None:
        start.wait()
        for _ in range(10):
            with own_database.writing() as work:
                used = work.quota.used(account.id, "2026-11")
                assert work.quota.reserve(account.id, "2026-11", 1, limit=used + 1)
                work.commit()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count_up, [reopen_database() for _ in range(8)]))
    with database.reading() as work:
        assert work.quota.used(account.id, "2026-11") == 80


# --- outages


def test_locked_database_raises_unavailable(
    database: Database, reopen_database: Callable[[], Database], short_timeout: None
) -> None:
    other = reopen_database()
    with database.writing() as work:
        for _ in range(3):
            with pytest.raises(Unavailable), other.writing():
                pytest.fail("Two transactions must not write at once.")
        assert count(other) == 0
        add(work)
        work.commit()
    with other.writing() as work:
        assert work.accounts.count() == 1


# A client must get status 503 within 5 seconds, and the rest of the request takes time too.
def test_lock_timeout_is_less_than_five_seconds(database: Database) -> None:
    assert 1 <= unit_of_work._BUSY_SECONDS <= 4.5
    with database.reading() as work:
        busy_timeout = work._connection.execute(text("PRAGMA busy_timeout")).scalar_one()
    assert busy_timeout == unit_of_work._BUSY_SECONDS * 1000


def test_writing_without_wait_fails_immediately(
    database: Database, reopen_database: Callable[[], Database]
) -> None:
    other = reopen_database()
    with database.writing():
        began = time.monotonic()
        with pytest.raises(Unavailable), other.writing(wait=False):
            pytest.fail("Two transactions must not write at once.")
        assert time.monotonic() - began < unit_of_work._BUSY_SECONDS / 4
    with other.writing(wait=False) as work:
        add(work)
        work.commit()
    assert count(database) == 1


# The pool reuses the connection for a transaction that may wait.
def test_no_wait_mode_is_not_kept_by_the_connection(
    reopen_database: Callable[..., Database], short_timeout: None
) -> None:
    database = reopen_database(pool_size=1, max_overflow=0)
    with database.writing(wait=False):
        pass
    with database.reading() as work:
        assert work._connection.execute(text("PRAGMA busy_timeout")).scalar_one() == 50


def test_unreadable_database_raises_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'uprez.sqlite3'}")
    for begin in (database.reading, database.writing):
        with pytest.raises(Unavailable), begin():
            pytest.fail("The folder must not exist.")
    database.close()


def test_failed_statement_raises_unavailable(database: Database) -> None:
    def fail() -> None:
        with database.writing() as work:
            add(work)
            work._connection.execute(text("SELECT * FROM a_table_that_is_not_there"))

    with pytest.raises(Unavailable):
        fail()
    assert count(database) == 0


def test_ping_fails_if_the_database_is_unreachable(database: Database, tmp_path: Path) -> None:
    with database.reading() as work:
        work.ping()
        assert work.accounts.count() == 0
    missing = Database(f"sqlite:///{tmp_path / 'nowhere' / 'uprez.sqlite3'}")
    with pytest.raises(Unavailable), missing.reading() as work:
        work.ping()
    missing.close()


# If each refused transaction leaked a connection, the service would stop after fifteen of them.
def test_refused_transaction_releases_its_connection(
    database: Database, reopen_database: Callable[..., Database], short_timeout: None
) -> None:
    other = reopen_database(pool_size=1, max_overflow=0, pool_timeout=0.05)
    with database.writing():
        for _ in range(3):
            with pytest.raises(Unavailable), other.writing():
                pytest.fail("Two transactions must not write at once.")
    with pytest.raises(NotFound), other.writing():
        raise NotFound
    assert count(other) == 0


@pytest.mark.both_databases
def test_exhausted_pool_raises_unavailable(reopen_database: Callable[..., Database]) -> None:
    database = reopen_database(pool_size=1, max_overflow=0, pool_timeout=0.05)
    with database.reading():
        for begin in (database.reading, database.writing):
            with pytest.raises(Unavailable), begin():
                pytest.fail("There must be only one connection.")
    assert count(database) == 0


# The number of threads of an API process is configurable, and SQLite limits no readers.
def test_many_threads_can_read_sqlite_at_once(database: Database) -> None:
    with ExitStack() as open_works:
        for _ in range(64):
            work = open_works.enter_context(database.reading())
            assert work.accounts.count() == 0


# --- SQLite


def test_sqlite_uses_wal_mode_and_foreign_keys(database: Database) -> None:
    with database.reading() as work:
        pragmas = {
            name: work._connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1}


def test_closed_sqlite_database_is_one_file(tmp_path: Path, new_database: Any) -> None:
    database = new_database()
    with database.writing() as work:
        add(work)
        work.commit()
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == [Path(database.engine.url.database).name]
    assert count(database) == 1


# --- PostgreSQL


def change_name(work: UnitOfWork, account: Account) -> None:
    work._connection.execute(
        update(tables.accounts).where(tables.accounts.c.id == account.id).values(name="Held")
    )


@pytest.mark.postgresql
def test_wait_for_a_locked_row_has_a_timeout(
    database: Database, reopen_database: Callable[[], Database], short_timeout: None
) -> None:
    with database.writing() as work:
        account = add(work)
        work.commit()
    other = reopen_database()
    with database.writing() as holder:
        change_name(holder, account)
        began = time.monotonic()
        with pytest.raises(Unavailable), other.writing() as work:
            work.accounts.lock(account.id)
        assert 0.05 <= time.monotonic() - began < 3  # less than the default of 4 s
        holder.commit()
    with other.writing() as work:
        work.accounts.lock(account.id)
        assert work.accounts.get(account.id).name == "Held"


@pytest.mark.postgresql
def test_locked_row_without_wait_fails_immediately(database: Database) -> None:
    with database.writing() as work:
        account = add(work)
        work.commit()
    with database.writing() as holder:
        change_name(holder, account)
        began = time.monotonic()
        with pytest.raises(Unavailable), database.writing(wait=False) as work:
            work.accounts.lock(account.id)
        assert time.monotonic() - began < unit_of_work._BUSY_SECONDS / 4
    with database.writing(wait=False) as work:
        work.accounts.lock(account.id)


@pytest.mark.postgresql
def test_postgresql_timeouts_are_the_configured_ones(database: Database) -> None:
    with database.reading() as work:
        for name in ("lock_timeout", "statement_timeout"):
            timeout = work._connection.execute(text(f"SHOW {name}")).scalar_one()
            assert timeout == f"{unit_of_work._BUSY_SECONDS}s"


@pytest.mark.postgresql
def test_slow_statement_raises_unavailable(
    reopen_database: Callable[[], Database], short_timeout: None
) -> None:
    database = reopen_database()
    with pytest.raises(Unavailable), database.reading() as work:
        work._connection.execute(text("SELECT pg_sleep(60)"))
    assert count(database) == 0


# A failing machine or a firewall can keep a connection open without ever responding.
def test_silent_server_raises_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_of_work, "_BUSY_SECONDS", 2)  # the smallest timeout of libpq
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        database = Database(f"postgresql+psycopg://postgres@127.0.0.1:{port}/uprez")
        with pytest.raises(Unavailable), database.reading():
            pytest.fail("The server must not respond.")
        database.close()


@pytest.mark.postgresql
def test_sessions_ended_by_a_restart_are_not_reused(database: Database, postgres: Any) -> None:
    assert count(database) == 0
    postgres.end_sessions(database.engine.url.database)
    assert count(database) == 0
