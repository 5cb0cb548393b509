"""Functions that build an installation from its settings; the only module that imports every layer."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from filelock import FileLock

from domain.background import BackgroundTasks, run_now
from domain.database import schema
from domain.database.unit_of_work import Database
from domain.links import LinkSigner
from domain.passwords import Passwords
from domain.plans import load_plans, require_plans_in_use
from domain.ports import Window
from domain.services import Services
from domain.stores.local import LocalFiles
from uprez.adapters.mail_folder import MailFolder
from uprez.adapters.mail_smtp import SmtpMailer, SmtpServer
from uprez.adapters.system import SystemClock, SystemRandomSource
from uprez.settings import load_secret_key, make_data_folder, worker_ready_file
from workers.broker import BrokerQueue, make_broker

if TYPE_CHECKING:
    import threading
    from typing import BinaryIO

    from domain.ports import BackgroundRunner, Clock, ImageFacts, Mailer, Probe, RandomSource, RequestCounter
    from handlers.transport.server import Api
    from uprez.settings import Settings


def make_services(
    settings: Settings,
    probe: Probe | None = None,
    counter: RequestCounter | None = None,
    background: BackgroundRunner = run_now,
) -> Services:
    """Build the services of the domain layer without connecting to anything.

    Without ``probe`` and ``counter`` the services accept no uploads and count no requests. Create the data
    folder and a secret key in it if no key is configured. Raise PlansError for an unusable plans file or an
    unknown default plan, SettingsError for a damaged key file, DatabaseUnusable and BrokerError for an
    unusable URL or missing driver.
    """
    plans = load_plans(settings.plans_file)
    plans[settings.default_plan]  # raises PlansError for an unknown plan at the start
    links = LinkSigner(load_secret_key(settings))
    clock = SystemClock()
    random_source = SystemRandomSource()
    return Services(
        database=Database(settings.resolved_database_url),
        store=LocalFiles(settings.data / "files", links),
        queue=BrokerQueue(make_broker(settings.resolved_broker_url)),
        mailer=_make_mailer(settings, clock, random_source),
        clock=clock,
        random_source=random_source,
        probe=probe if probe is not None else _no_probe,
        counter=counter if counter is not None else _NoCounter(),
        background=background,
        plans=plans,
        links=links,
        passwords=Passwords(),
        policy=settings.policy(),
    )


def _make_mailer(settings: Settings, clock: Clock, random_source: RandomSource) -> Mailer:
    """Return a mailer for the server of ``mail_url``, or one that writes to the data folder if it is None."""
    if settings.mail_url is not None:
        return SmtpMailer(SmtpServer.from_url(settings.mail_url), settings.mail_from, clock, random_source)
    return MailFolder(settings.data / "mail", settings.mail_from, clock, random_source)


def prepare_embedded(settings: Settings) -> None:
    """Create the data folder and, if ``database_url`` is None, migrate the SQLite database in it.

    Wait without a timeout for another process that migrates it. A database that ``database_url`` names is not
    changed. Raise Unavailable when the database is locked for too long.
    """
    make_data_folder(settings)
    if settings.database_url is not None:
        return
    with FileLock(settings.data / "migrate.lock"):
        migrate(settings)


def require_usable_accounts(settings: Settings) -> None:
    """Check that the database has this release's schema, and that the plans file has every plan that accounts
    have.

    Raise SchemaError, PlansError (also for a missing or invalid plans file), or Unavailable.
    """
    plans = load_plans(settings.plans_file)
    database = Database(settings.resolved_database_url)
    try:
        schema.require_current(database)
        require_plans_in_use(database, plans)
    finally:
        database.close()


def migrate(settings: Settings) -> None:
    """Migrate the database, embedded or named by ``database_url``, to the schema of this release.

    Do nothing if it has that schema. Raise DatabaseUnusable or Unavailable when it cannot be used or reached.
    """
    database = Database(settings.resolved_database_url)
    try:
        schema.upgrade(database)
    finally:
        database.close()


def make_api(settings: Settings) -> Api:
    """Build the application of one API process; call it after the fork.

    Create the spool folder for uploads and make it the default folder of ``tempfile``. Raise the errors of
    ``make_services``, SettingsError when no Redis server can count requests, SchemaError when the database
    does not have the schema of this release, and Unavailable when it cannot be reached.
    """
    from handlers.app import create_app  # noqa: PLC0415  # the API's libraries are not installed on every worker
    from handlers.transport.server import Api  # noqa: PLC0415
    from uprez.adapters.image_probe import probe  # noqa: PLC0415
    from uprez.adapters.request_counter import LimitsCounter  # noqa: PLC0415

    # Uploads are spooled to the data folder because /tmp can be in memory.
    spool = settings.data / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(spool)
    background = BackgroundTasks()
    services = make_services(settings, probe, LimitsCounter(settings.resolved_limits_url), background)
    schema.require_current(services.database)
    app = create_app(
        services,
        threads=settings.api_threads,
        body_timeout_seconds=settings.body_timeout_seconds,
        check_responses=settings.check_responses,
        cors_origins=(settings.cors_origins or "").split(),
        trusted_proxies=settings.trusted_proxy_list,
    )
    return Api(app, background.close)


def run_worker(settings: Settings, stop: threading.Event) -> None:
    """Start the engines and process images until ``stop`` is set.

    Create the ready file when the engines have passed their self-test; it is not removed at the end. Raise
    the errors of ``make_services``, SchemaError when the database does not have the schema of this release,
    Unavailable when it cannot be reached, and EngineUnusable when no engine can start or the last one is
    lost.
    """
    from workers.engines import make_reserve_engine, start_engine_children  # noqa: PLC0415  # the engine's libraries are not installed on every API host
    from workers.process import run_worker as run  # noqa: PLC0415

    services = make_services(settings)
    schema.require_current(services.database)
    options = settings.engine_options()
    engines = start_engine_children(options, stall_seconds=settings.stall_seconds)
    worker_ready_file(settings).touch()
    run(
        services,
        make_broker(settings.resolved_broker_url),
        engines,
        settings.data / "work",
        stop,
        settings.stop_seconds,
        make_reserve_engine(options, engines, stall_seconds=settings.stall_seconds),
    )


class _NoCounter:
    """A request counter without limits, for workers and commands, which receive no requests."""

    def hit(self, _key: str, _limit: int, _seconds: int) -> Window | None:
        """Return None: nothing is counted, as if the counter did not respond."""
        return None

    peek = hit

    def hit_locally(self, _key: str, limit: int, seconds: int) -> Window:
        """Return a window in which nothing is used."""
        return Window(limit, limit, seconds, exceeded=False)


def _no_probe(_content: BinaryIO) -> ImageFacts:
    """Raise AssertionError: only the API receives uploads."""
    raise AssertionError("Only the API can probe uploads.")
