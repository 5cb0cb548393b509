"""``uprez api`` and ``uprez worker``: one part each, for any number of machines."""

from __future__ import annotations

import logging
import signal
import threading

from uprez import wiring
from uprez.settings import Settings, load_settings


def api() -> None:
    """Run the API alone; everything is set with UPREZ_… variables."""
    from handlers.transport.server import serve_api  # noqa: PLC0415  # only this command needs the API's libraries

    settings = load_settings()
    log_to_stderr(settings)
    wiring.require_usable_accounts(settings)  # here it is a sentence, in a worker a traceback
    serve_api(
        lambda: wiring.make_api(settings),
        host=settings.host,
        port=settings.port,
        processes=settings.api_processes,
        grace_seconds=settings.stop_seconds,
        log_level=settings.log_level,
    )


def worker() -> None:
    """Run a worker alone: takes images from the queue and upscales them."""
    settings = load_settings()
    log_to_stderr(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wiring.run_worker(settings, stop)


def log_to_stderr(settings: Settings) -> None:
    level = getattr(logging, settings.log_level.upper())
    for name in ("domain", "handlers", "uprez", "workers"):
        logging.getLogger(name).setLevel(level)
