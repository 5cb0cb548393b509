"""The commands ``uprez api`` and ``uprez worker``, each of which runs one part of a service."""

from __future__ import annotations

import logging
import signal
import threading

from uprez import wiring
from uprez.settings import Settings, load_settings


def api() -> None:
    """Run only the API. UPREZ_… environment variables configure it."""
    from handlers.transport.server import serve_api  # noqa: PLC0415  # the API's libraries are not installed on every worker

    settings = load_settings()
    set_log_level(settings)
    wiring.require_usable_accounts(settings)  # checked here because an API process would show a traceback
    serve_api(
        lambda: wiring.make_api(settings),
        host=settings.host,
        port=settings.port,
        processes=settings.api_processes,
        grace_seconds=settings.stop_seconds,
        log_level=settings.log_level,
    )


def worker() -> None:
    """Run only a worker, which upscales the images of the queue. UPREZ_… environment variables configure it."""
    settings = load_settings()
    set_log_level(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wiring.run_worker(settings, stop)


def set_log_level(settings: Settings) -> None:
    """Set the log level of Uprez's own packages to ``log_level``; other packages keep theirs."""
    level = getattr(logging, settings.log_level.upper())
    for name in ("domain", "handlers", "uprez", "workers"):
        logging.getLogger(name).setLevel(level)
