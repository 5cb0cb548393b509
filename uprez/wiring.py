"""The one place that knows every layer: settings in, a running installation out."""

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
from uprez.settings import make_data_folder, secret_key, worker_ready_file
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
    """Raises PlansError, BrokerError; connects to nothing yet."""
    plans = load_plans(settings.plans_file)
    plans[settings.default_plan]  # a plan that does not exist is found out now, not by the first client
    links = LinkSigner(secret_key(settings))
    clock = SystemClock()
    random_source = SystemRandomSource()
    return Services(
        database=Database(settings.resolved_database_url),
        store=LocalFiles(settings.data / "files", links),
        queue=BrokerQueue(make_broker(settings.resolved_broker_url)),
        mailer=_mailer(settings, clock, random_source),
        clock=clock,
        random_source=random_source,
        probe=probe if probe is not None else _no_probe,
        counter=counter if counter is not None else _CountsNothing(),
        background=background,
        plans=plans,
        links=links,
        passwords=Passwords(),
        policy=settings.policy(),
    )


def _mailer(settings: Settings, clock: Clock, random_source: RandomSource) -> Mailer:
    if settings.mail_url is not None:
        return SmtpMailer(SmtpServer.from_url(settings.mail_url), settings.mail_from, clock, random_source)
    return MailFolder(settings.data / "mail", settings.mail_from, clock, random_source)


def prepare_embedded(settings: Settings) -> None:
    """The data folder, and our own SQLite brought up to date; a database of the operator's is left alone."""
    make_data_folder(settings)
    if settings.database_url is not None:
        return
    with FileLock(settings.data / "migrate.lock"):
        migrate(settings)


def require_usable_accounts(settings: Settings) -> None:
    """Raises PlansError for accounts on plans that there are not, SchemaError for a database that is not ours."""
    plans = load_plans(settings.plans_file)
    database = Database(settings.resolved_database_url)
    try:
        schema.require_current(database)
        require_plans_in_use(database, plans)
    finally:
        database.close()


def migrate(settings: Settings) -> None:
    database = Database(settings.resolved_database_url)
    try:
        schema.upgrade(database)
    finally:
        database.close()


def make_api(settings: Settings) -> Api:
    """For one API process, after the fork. Raises SchemaError for a database that is not ours."""
    from handlers.app import create_app  # noqa: PLC0415  # the worker runs without the API's libraries
    from handlers.transport.server import Api  # noqa: PLC0415
    from uprez.adapters.image_probe import probe  # noqa: PLC0415
    from uprez.adapters.request_counter import LimitsCounter  # noqa: PLC0415

    # Uploads are spooled beside the store: /tmp may be memory.
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
    """Works until ``stop``. Raises SchemaError, EngineUnusable."""
    from workers.engines import reserve_engine, start_engines  # noqa: PLC0415  # the API runs without the engine's libraries
    from workers.process import run_worker as run  # noqa: PLC0415

    services = make_services(settings)
    schema.require_current(services.database)
    options = settings.engine_options()
    engines = start_engines(options, stall_seconds=settings.stall_seconds)
    worker_ready_file(settings).touch()
    run(
        services,
        make_broker(settings.resolved_broker_url),
        engines,
        settings.data / "work",
        stop,
        settings.stop_seconds,
        reserve_engine(options, engines, stall_seconds=settings.stall_seconds),
    )


class _CountsNothing:
    """For workers and commands, which nobody sends requests to."""

    def hit(self, _key: str, _limit: int, _seconds: int) -> Window | None:
        return None

    look = hit

    def hit_locally(self, _key: str, limit: int, seconds: int) -> Window:
        return Window(limit, limit, seconds, exceeded=False)


def _no_probe(_content: BinaryIO) -> ImageFacts:
    raise AssertionError("Only the API examines uploads.")
