"""Transactions: reading ones and writing ones, committed only when the story says so."""

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

_NEXT = "uprez_next_transaction"
_PATIENCE = "uprez_patience"
"""Where a connection's own record has what it is to begin as, and how long it waits for now."""
_BUSY_SECONDS = 4
"""How long a transaction waits for a connection, for SQLite's one writer, for a row that another holds on
PostgreSQL and for any one answer of it: a client is to hear 503 within five seconds.
"""
_UNBOUNDED = 0
_OUTAGES = (OperationalError, InternalError, InterfaceError)
"""A lost connection, a locked file, a server that became read-only."""


class _Mode(NamedTuple):
    """Of a transaction."""

    writing: bool
    wait: bool


_USUAL = _Mode(writing=True, wait=True)


class UnitOfWork:
    """The tables within one transaction; leaving without ``commit`` undoes everything.

    Raises Unavailable when the database cannot be reached, or stays locked for too long.
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
        try:
            self._connection = self._engine.connect()
            self._connection.info[_NEXT] = self._mode
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
        """Raises CommitUnanswered: the database may have done it, or be about to, and only its answer be lost."""
        self.images.flush_counts()
        try:
            self._connection.commit()
        except _OUTAGES as reason:
            self._connection.invalidate()  # it may be in the midst of this transaction, and is no use to others
            raise CommitUncertain from reason

    def ping(self) -> None:
        """Raises Unavailable on leaving if the database does not answer."""
        self._connection.execute(text("SELECT 1"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if isinstance(error, _OUTAGES):
            raise Unavailable from error

    def _close(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()  # rolls back what was not committed


class DatabaseUnusable(UprezError):
    """The message says what to do, and repeats nothing of the URL, which may hold a password."""

    code = "database_unusable"


class Database:
    def __init__(self, url: str, **options: Any) -> None:
        # A server has only so many connections to share. A file has as many as there are threads, so
        # that readers never stand behind writers that wait for the lock.
        file = _backend(url) == "sqlite"
        self.reads_at_once = file
        """Reading waits for nobody: no network, and no writer, as the file's log (WAL) keeps them apart."""
        usual: dict[str, Any] = {"pool_size": _UNBOUNDED} if file else _server_options()
        try:
            self.engine = create_engine(url, **{**usual, **options})
        except (ImportError, NoSuchModuleError):
            raise DatabaseUnusable(
                "The database's driver is not installed. For PostgreSQL: pip install 'uprez[postgres]', "
                "and a URL that begins with postgresql+psycopg://"
            ) from None
        if file:
            _configure_sqlite(self.engine)
        else:
            _configure_postgresql_timeouts(self.engine)

    def reading(self) -> UnitOfWork:
        return UnitOfWork(self.engine, writing=False)

    def writing(self, *, wait: bool = True) -> UnitOfWork:
        """``wait=False`` is for what is not worth waiting for: where another writes, Unavailable at once."""
        return UnitOfWork(self.engine, writing=True, wait=wait)

    def close(self) -> None:
        self.engine.dispose()


def _server_options() -> dict[str, Any]:
    # PostgreSQL itself waits for ever, and TCP for a quarter of an hour until it believes that nobody is there.
    timeouts = {"connect_timeout": ceil(_BUSY_SECONDS), "tcp_user_timeout": int(_BUSY_SECONDS * 1000)}
    return {"pool_timeout": _BUSY_SECONDS, "pool_pre_ping": True, "connect_args": timeouts}


def _backend(url: str) -> str:
    try:
        return make_url(url).get_backend_name()
    except ArgumentError:
        raise DatabaseUnusable("UPREZ_DATABASE_URL is no URL that SQLAlchemy knows.") from None


def _configure_sqlite(engine: Engine) -> None:
    """WAL, foreign keys, and BEGIN IMMEDIATE where we mean to write.

    The driver's own deferred BEGIN takes the write lock at the first write and then cannot wait for
    it: under load that is «database is locked», whatever the timeout.
    """

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        for pragma in (
            f"busy_timeout = {_BUSY_SECONDS * 1000}",  # for the next one already
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: PoolProxiedConnection) -> None:
        writing, wait = connection.info.pop(_NEXT, _USUAL)
        patience = _BUSY_SECONDS * 1000 if wait else 0
        # On the driver's own connection: as statements of SQLAlchemy's, these cost more than what they begin.
        driver: Any = connection.driver_connection
        if connection.info.get(_PATIENCE) != patience:
            driver.execute(f"PRAGMA busy_timeout = {patience}")
            connection.info[_PATIENCE] = patience
        driver.execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    _begin_by(engine, begin)


def _configure_postgresql_timeouts(engine: Engine) -> None:
    """Nobody waits longer than a client would, and who asks for a lock without waiting has it or not.

    Said on the connection, not in its options, which may be the operator's and which poolers refuse.
    """

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            for name in ("lock_timeout", "statement_timeout"):
                cursor.execute(f"SET {name} = '{_BUSY_SECONDS * 1000}ms'")
        connection.commit()

    def begin(connection: PoolProxiedConnection) -> None:
        if not connection.info.pop(_NEXT, _USUAL).wait:
            with connection.driver_connection.cursor() as cursor:  # type: ignore[union-attr]
                cursor.execute("SET LOCAL lock_timeout = '1ms'")  # 0 would be for ever

    _begin_by(engine, begin)


def _begin_by(engine: Engine, begin: Callable[[PoolProxiedConnection], None]) -> None:
    """As a listener for ``begin`` would; but with one, every statement costs more, and many are asked for nothing."""
    engine.dialect.do_begin = begin  # type: ignore[assignment, method-assign]
