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
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a lock for more than a moment."""
    monkeypatch.setattr(unit_of_work, "_BUSY_SECONDS", 0.05)


# --- all or nothing


@pytest.mark.both_databases
def test_what_is_committed_stays(database: Database, reopen_database: Callable[[], Database]) -> None:
    with database.writing() as work:
        add(work)
        work.commit()
    assert count(database) == 1
    assert count(reopen_database()) == 1


@pytest.mark.both_databases
@pytest.mark.parametrize("hold", [True, False])
def test_a_commit_without_an_answer_says_so(
    database: Database, break_commits: Callable[..., None], hold: bool
) -> None:
    break_commits(1, hold=hold)
    with database.writing() as work:
        add(work)
        with pytest.raises(CommitUncertain):
            work.commit()
    assert count(database) == hold


@pytest.mark.both_databases
def test_what_is_not_committed_is_undone(database: Database) -> None:
    with database.writing() as work:
        add(work)
        assert work.accounts.count() == 1
    assert count(database) == 0


@pytest.mark.both_databases
def test_what_was_begun_before_an_error_is_undone_and_the_error_is_passed_on(database: Database) -> None:
    def refuse() -> None:
        with database.writing() as work:
            add(work)
            raise NotFound

    with pytest.raises(NotFound):
        refuse()
    assert count(database) == 0


@pytest.mark.both_databases
def test_what_comes_after_the_commit_is_a_story_of_its_own(database: Database) -> None:
    with database.writing() as work:
        add(work)
        work.commit()
        add(work, "john@example.com")
    assert count(database) == 1


@pytest.mark.both_databases
def test_a_broken_rule_of_the_tables_is_no_outage(database: Database) -> None:
    with database.writing() as work:
        add(work)
        with pytest.raises(EmailTaken):
            add(work)
    with pytest.raises(IntegrityError), database.writing() as work:
        work.tokens.add(account_id=4711, name="x", secret_sha256="x", abilities=[], now=NOW)
    assert count(database) == 0


# --- several at once


@pytest.mark.both_databases
def test_readers_are_not_blocked_by_a_writer_and_see_nothing_half_done(
    database: Database, reopen_database: Callable[[], Database], impatient: None
) -> None:
    with database.writing() as writer:
        add(writer)
        assert count(reopen_database()) == 0
        assert count(database) == 0
        writer.commit()
    assert count(database) == 1


def test_a_writer_is_not_blocked_by_readers_who_keep_what_they_saw(
    database: Database, impatient: None
) -> None:
    with database.reading() as reader:
        assert reader.accounts.count() == 0
        with database.writing() as writer:
            add(writer)
            writer.commit()
        assert reader.accounts.count() == 0
    assert count(database) == 1


def test_a_writer_waits_for_another_to_finish(
    database: Database, reopen_database: Callable[[], Database]
) -> None:
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


# With the BEGIN that drivers use by themselves, all but one of these would be «database is locked» at
# their first write, however long they were ready to wait.
def test_who_reads_before_writing_is_never_locked_out(
    database: Database, reopen_database: Callable[[], Database]
) -> None:
    with database.writing() as work:
        account = add(work)
        work.commit()
    start = Barrier(8)

    def count_up(mine: Database) -> None:
        start.wait()
        for _ in range(10):
            with mine.writing() as work:
                used = work.quota.used(account.id, "2026-11")
                assert work.quota.reserve(account.id, "2026-11", 1, limit=used + 1)
                work.commit()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count_up, [reopen_database() for _ in range(8)]))
    with database.reading() as work:
        assert work.quota.used(account.id, "2026-11") == 80


# --- outages


def test_a_database_that_stays_locked_is_an_outage(
    database: Database, reopen_database: Callable[[], Database], impatient: None
) -> None:
    other = reopen_database()
    with database.writing() as work:
        for _ in range(3):
            with pytest.raises(Unavailable), other.writing():
                pytest.fail("Two cannot write at once.")
        assert count(other) == 0
        add(work)
        work.commit()
    with other.writing() as work:
        assert work.accounts.count() == 1


# «503 with Retry-After within 5 s»: of which the rest of a request has its share.
def test_a_lock_is_waited_for_less_than_five_seconds(database: Database) -> None:
    assert 1 <= unit_of_work._BUSY_SECONDS <= 4.5
    with database.reading() as work:
        patience = work._connection.execute(text("PRAGMA busy_timeout")).scalar_one()
    assert patience == unit_of_work._BUSY_SECONDS * 1000


def test_what_is_not_worth_waiting_for_does_not_wait(
    database: Database, reopen_database: Callable[[], Database]
) -> None:
    other = reopen_database()
    with database.writing():
        began = time.monotonic()
        with pytest.raises(Unavailable), other.writing(wait=False):
            pytest.fail("Two cannot write at once.")
        assert time.monotonic() - began < unit_of_work._BUSY_SECONDS / 4
    with other.writing(wait=False) as work:
        add(work)
        work.commit()
    assert count(database) == 1


# The same connection comes back from the pool for somebody who has the time.
def test_impatience_is_not_inherited(reopen_database: Callable[..., Database], impatient: None) -> None:
    database = reopen_database(pool_size=1, max_overflow=0)
    with database.writing(wait=False):
        pass
    with database.reading() as work:
        assert work._connection.execute(text("PRAGMA busy_timeout")).scalar_one() == 50


def test_a_database_that_cannot_be_opened_is_an_outage(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'uprez.sqlite3'}")
    for begin in (database.reading, database.writing):
        with pytest.raises(Unavailable), begin():
            pytest.fail("There is no such folder.")
    database.close()


def test_a_database_that_fails_in_the_middle_is_an_outage(database: Database) -> None:
    def fail() -> None:
        with database.writing() as work:
            add(work)
            work._connection.execute(text("SELECT * FROM a_table_that_is_not_there"))

    with pytest.raises(Unavailable):
        fail()
    assert count(database) == 0


def test_a_ping_is_answered(database: Database, tmp_path: Path) -> None:
    with database.reading() as work:
        work.ping()
        assert work.accounts.count() == 0
    gone = Database(f"sqlite:///{tmp_path / 'nowhere' / 'uprez.sqlite3'}")
    with pytest.raises(Unavailable), gone.reading() as work:
        work.ping()
    gone.close()


# A leak of one connection for each refusal would stop the service after fifteen of them.
def test_a_refusal_keeps_no_connection(
    database: Database, reopen_database: Callable[..., Database], impatient: None
) -> None:
    other = reopen_database(pool_size=1, max_overflow=0, pool_timeout=0.05)
    with database.writing():
        for _ in range(3):
            with pytest.raises(Unavailable), other.writing():
                pytest.fail("Two cannot write at once.")
    with pytest.raises(NotFound), other.writing():
        raise NotFound
    assert count(other) == 0


@pytest.mark.both_databases
def test_a_pool_with_no_connection_left_is_an_outage(reopen_database: Callable[..., Database]) -> None:
    database = reopen_database(pool_size=1, max_overflow=0, pool_timeout=0.05)
    with database.reading():
        for begin in (database.reading, database.writing):
            with pytest.raises(Unavailable), begin():
                pytest.fail("There is only one connection.")
    assert count(database) == 0


# An API process has as many threads as its operator wants, and a file has room for them all.
def test_as_many_may_read_a_file_at_once_as_there_are_threads(database: Database) -> None:
    with ExitStack() as open_works:
        for _ in range(64):
            work = open_works.enter_context(database.reading())
            assert work.accounts.count() == 0


# --- the file


def test_the_file_is_in_wal_mode_and_synced_as_wal_needs(database: Database) -> None:
    with database.reading() as work:
        pragmas = {
            name: work._connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1}


def test_closing_leaves_one_file_and_the_database_opens_again(tmp_path: Path, new_database: Any) -> None:
    database = new_database()
    with database.writing() as work:
        add(work)
        work.commit()
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == [Path(database.engine.url.database).name]
    assert count(database) == 1


# --- a server


def hold(work: UnitOfWork, account: Account) -> None:
    work._connection.execute(
        update(tables.accounts).where(tables.accounts.c.id == account.id).values(name="Held")
    )


@pytest.mark.postgresql
def test_a_row_that_another_holds_is_waited_for_no_longer_than_a_client_would(
    database: Database, reopen_database: Callable[[], Database], impatient: None
) -> None:
    with database.writing() as work:
        account = add(work)
        work.commit()
    other = reopen_database()
    with database.writing() as holder:
        hold(holder, account)
        began = time.monotonic()
        with pytest.raises(Unavailable), other.writing() as work:
            work.accounts.lock(account.id)
        assert 0.05 <= time.monotonic() - began < 4
        holder.commit()
    with other.writing() as work:
        work.accounts.lock(account.id)
        assert work.accounts.get(account.id).name == "Held"


@pytest.mark.postgresql
def test_a_row_that_is_not_worth_waiting_for_is_not_waited_for(database: Database) -> None:
    with database.writing() as work:
        account = add(work)
        work.commit()
    with database.writing() as holder:
        hold(holder, account)
        began = time.monotonic()
        with pytest.raises(Unavailable), database.writing(wait=False) as work:
            work.accounts.lock(account.id)
        assert time.monotonic() - began < unit_of_work._BUSY_SECONDS / 4
    with database.writing(wait=False) as work:
        work.accounts.lock(account.id)


@pytest.mark.postgresql
def test_no_answer_is_waited_for_longer_than_a_client_would(database: Database) -> None:
    with database.reading() as work:
        for name in ("lock_timeout", "statement_timeout"):
            said = work._connection.execute(text(f"SHOW {name}")).scalar_one()
            assert said == f"{unit_of_work._BUSY_SECONDS}s"


@pytest.mark.postgresql
def test_an_answer_that_never_comes_is_an_outage(
    reopen_database: Callable[[], Database], impatient: None
) -> None:
    database = reopen_database()
    with pytest.raises(Unavailable), database.reading() as work:
        work._connection.execute(text("SELECT pg_sleep(60)"))
    assert count(database) == 0


# What a machine in trouble, or a firewall, does: the connection stands, and nobody ever says a word.
def test_a_server_that_says_nothing_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_of_work, "_BUSY_SECONDS", 2)  # the least that libpq knows
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        database = Database(f"postgresql+psycopg://postgres@127.0.0.1:{port}/uprez")
        with pytest.raises(Unavailable), database.reading():
            pytest.fail("Nobody is there.")
        database.close()


@pytest.mark.postgresql
def test_sessions_that_a_restart_has_ended_are_not_used_again(database: Database, postgres: Any) -> None:
    assert count(database) == 0
    postgres.end_sessions(database.engine.url.database)
    assert count(database) == 0
