"""Units of work: read and write transactions, which roll back unless they are committed explicitly."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.database.account_repository import Accounts, Subscriptions, Tokens
from domain.database.batch_repository import Batches
from domain.database.image_repository import Images
from domain.database.quota_repository import QuotaUsage
from domain.errors import CommitUncertain, Unavailable, UprezError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import PoolProxiedConnection

_MODE_KEY = "uprez_mode"
_BUSY_TIMEOUT_KEY = "uprez_busy_timeout"
"""Keys of ``connection.info``: the mode of the next transaction, and SQLite's current timeout in milliseconds."""
_BUSY_SECONDS = 4
"""The longest wait for a connection, for SQLite's only writer, for a row lock on PostgreSQL and for one response of
PostgreSQL: a client must get status 503 within five seconds.
"""
_UNBOUNDED = 0
_OUTAGES = (OperationalError, InternalError, InterfaceError)
"""The errors for a lost connection, a locked file, and a server that became read-only."""


class _Mode(NamedTuple):
    """The mode of a transaction; ``wait`` is whether it waits for other writers."""

    writing: bool
    wait: bool


_DEFAULT_MODE = _Mode(writing=True, wait=True)


class UnitOfWork:
    """The repositories within one transaction, which rolls back on exit unless ``commit`` was called.

    It raises Unavailable if the database cannot be reached, or is locked for too long.
    """

    accounts: Accounts
    subscriptions: Subscriptions
    tokens: Tokens
    images: Images
    batches: Batches
    quota: QuotaUsage

    def __init__(self, engine: Engine, *, writing: bool, wait: bool = True) -> None:
        self._engine = engine
        self._mode = _Mode(writing, wait)

    def __enter__(self) -> Self:
        """Connect and begin the transaction.

        Raise Unavailable if the database cannot be reached or is locked.
        """
        try:
            self._connection = self._engine.connect()
            self._connection.info[_MODE_KEY] = self._mode
            self._connection.begin()
        except (DBAPIError, PoolTimeoutError) as reason:
            self._close()
            raise Unavailable from reason
        self.accounts = Accounts(self._connection)
        self.subscriptions = Subscriptions(self._connection)
        self.tokens = Tokens(self._connection)
        self.images = Images(self._connection)
        self.batches = Batches(self._connection)
        self.quota = QuotaUsage(self._connection)
        return self

    def commit(self) -> None:
        """Write the changes of the image counts and commit the transaction.

        Raise CommitUncertain if the connection was lost: the database may have committed, or may still do so.
        """
        self.images.flush_counts()
        try:
            self._connection.commit()
        except _OUTAGES as reason:
            self._connection.invalidate()  # the transaction may still be open, so the pool must not reuse the connection
            raise CommitUncertain from reason

    def ping(self) -> None:
        """Run a query without effect.

        The unit of work raises Unavailable on exit if the database does not respond.
        """
        self._connection.execute(text("SELECT 1"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Roll back unless committed, and raise Unavailable instead of an outage that the block raised."""
        self._close()
        if isinstance(error, _OUTAGES):
            raise Unavailable from error

    def _close(self) -> None:
        """Close the connection if one was opened; this rolls back what is not committed."""
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()  # rolls back an uncommitted transaction


class DatabaseUnusable(UprezError):
    """The database cannot be used as configured.

    The message says what to do; it does not repeat the URL, which may contain a password.
    """

    code = "database_unusable"


class Database:
    """A database and its connection pool; ``options`` override those of SQLAlchemy's engine."""

    def __init__(self, url: str, **options: Any) -> None:
        """Create the engine without connecting.

        Raise DatabaseUnusable if the URL is malformed or the database's driver is not installed.
        """
        # The connections of a server are limited, so the pool is too. SQLite gets a connection for each thread, so
        # that a reader never waits for a writer that waits for the lock.
        is_sqlite = _backend(url) == "sqlite"
        self.has_nonblocking_reads = is_sqlite
        """Whether a read waits neither for the network nor for a writer, as in SQLite's WAL mode."""
        defaults: dict[str, Any] = {"pool_size": _UNBOUNDED} if is_sqlite else _server_options()
        try:
            self.engine = create_engine(url, **{**defaults, **options})
        except (ImportError, NoSuchModuleError):
            raise DatabaseUnusable(
                "The database's driver is not installed. For PostgreSQL, run pip install 'uprez[postgres]' "
                "and use a URL that begins with postgresql+psycopg://"
            ) from None
        if is_sqlite:
            _configure_sqlite(self.engine)
        else:
            _configure_postgresql_timeouts(self.engine)

    def reading(self) -> UnitOfWork:
        """Return a unit of work that only reads."""
        return UnitOfWork(self.engine, writing=False)

    def writing(self, *, wait: bool = True) -> UnitOfWork:
        """Return a unit of work that writes.

        With ``wait=False`` it raises Unavailable immediately where it would have to wait for another writer.
        """
        return UnitOfWork(self.engine, writing=True, wait=wait)

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def _server_options() -> dict[str, Any]:
    """Return the engine's options for PostgreSQL.

    They limit the time to connect, to get a pooled connection and to notice a dead server.
    """
    # By default, libpq waits without a limit, and TCP waits 15 minutes for an unreachable server.
    timeouts = {"connect_timeout": ceil(_BUSY_SECONDS), "tcp_user_timeout": int(_BUSY_SECONDS * 1000)}
    return {"pool_timeout": _BUSY_SECONDS, "pool_pre_ping": True, "connect_args": timeouts}


def _backend(url: str) -> str:
    """Return the name of the URL's database system, such as ``sqlite``. Raise DatabaseUnusable."""
    try:
        return make_url(url).get_backend_name()
    except ArgumentError:
        raise DatabaseUnusable(
            "UPREZ_DATABASE_URL is not a database URL. Use sqlite:///PATH or postgresql+psycopg://HOST/DATABASE."
        ) from None


def _configure_sqlite(engine: Engine) -> None:
    """Set WAL mode, foreign keys and timeouts, and begin write transactions with BEGIN IMMEDIATE.

    The driver's own deferred BEGIN locks at the first write, where SQLite cannot wait for the lock: under
    load this fails with "database is locked", whatever the timeout.
    """

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        """Set up each new connection: busy timeout, WAL, foreign keys; transactions are begun by ``begin``."""
        connection.isolation_level = None  # the driver must not begin transactions itself
        for pragma in (
            f"busy_timeout = {_BUSY_SECONDS * 1000}",  # first, because the next pragma may have to wait
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: PoolProxiedConnection) -> None:
        """Begin the transaction in the mode that the unit of work stored: writers lock the database now.

        Without ``wait``, fail at once if another writer has the lock.
        """
        writing, wait = connection.info.pop(_MODE_KEY, _DEFAULT_MODE)
        busy_timeout = _BUSY_SECONDS * 1000 if wait else 0
        # On the driver's connection: executing these through SQLAlchemy takes longer than the transaction itself.
        driver: Any = connection.driver_connection
        if connection.info.get(_BUSY_TIMEOUT_KEY) != busy_timeout:
            driver.execute(f"PRAGMA busy_timeout = {busy_timeout}")
            connection.info[_BUSY_TIMEOUT_KEY] = busy_timeout
        driver.execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    _replace_begin(engine, begin)


def _configure_postgresql_timeouts(engine: Engine) -> None:
    """Set the lock and statement timeouts, and a minimal lock timeout for transactions that must not wait.

    They are set by statements on the connection: its startup options may be the operator's, and connection
    poolers reject them.
    """

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        """Set the time limits for locks and statements of each new connection."""
        with connection.cursor() as cursor:
            for name in ("lock_timeout", "statement_timeout"):
                cursor.execute(f"SET {name} = '{_BUSY_SECONDS * 1000}ms'")
        connection.commit()

    def begin(connection: PoolProxiedConnection) -> None:
        """Let a transaction without ``wait`` fail after a millisecond if it meets a lock."""
        if not connection.info.pop(_MODE_KEY, _DEFAULT_MODE).wait:
            with connection.driver_connection.cursor() as cursor:  # type: ignore[union-attr]
                cursor.execute("SET LOCAL lock_timeout = '1ms'")  # 0 would disable the timeout

    _replace_begin(engine, begin)


def _replace_begin(engine: Engine, begin: Callable[[PoolProxiedConnection], None]) -> None:
    """Replace the dialect's function that begins a transaction.

    An event listener for ``begin`` would do the same, but with any listener every statement costs more.
    """
    engine.dialect.do_begin = begin  # type: ignore[assignment, method-assign]
