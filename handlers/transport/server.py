"""gunicorn server with uvicorn in each worker process."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from uvicorn import Server
from uvicorn_worker import UvicornWorker

from handlers.transport.protocol import EnvelopeProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from starlette.types import ASGIApp
    from uvicorn import Config

_NOTIFY_SECONDS = 1
_EXIT_SECONDS = 1
"""Part of the grace period: the process exits by itself before it is killed."""
_MIN_CLOSE_SECONDS = 1
"""Part of the grace period that is reserved for ``Api.close``, however long requests take."""


class Api(NamedTuple):
    """The application of one worker process."""

    app: ASGIApp
    close: Callable[[float], None]
    """Called once after the last request, with the seconds that it may take."""


class _Server(Server):
    """Close the application before uvicorn raises the received signal again, which ends the process."""

    def __init__(self, config: Config, close: Callable[[float], None], grace_seconds: int) -> None:
        super().__init__(config)
        self._close = close
        self._close_timeout_seconds = grace_seconds - _EXIT_SECONDS

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down, then close the application on a thread within the rest of the time.

        After a forced exit, the application is not closed.
        """
        deadline = time.monotonic() + self._close_timeout_seconds
        await super().shutdown(sockets)
        if not self.force_exit:
            await asyncio.to_thread(self._close, max(0.0, deadline - time.monotonic()))


class ApiWorker(UvicornWorker):  # type: ignore[misc]  # untyped
    """Worker process that serves with ``EnvelopeProtocol``."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "http": EnvelopeProtocol,  # based on httptools: h11 accepted a smuggled request
        # uvloop accepts one new connection per iteration, after all ready requests: in a burst of 50 connections
        # the last one waited seconds for its first response.
        "loop": "asyncio",
        "ws": "none",
        "lifespan": "off",
        "server_header": False,
        "proxy_headers": False,  # handlers/transport/proxies.py does it
        "timeout_notify": _NOTIFY_SECONDS,
    }

    async def _serve(self) -> None:
        """Do the same as UvicornWorker, with ``_Server``."""
        self.config.app = self.wsgi
        grace = self.cfg.graceful_timeout
        self.config.timeout_graceful_shutdown = max(1, grace - _EXIT_SECONDS - _MIN_CLOSE_SECONDS)
        server = _Server(self.config, self.app.close, grace)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def callback_notify(self) -> None:
        """Notify gunicorn; end the process with status 1 if gunicorn's master is gone."""
        await super().callback_notify()
        if os.getppid() != self.ppid:
            # gunicorn's master is gone, so that this process would never be stopped and would keep the port.
            os._exit(1)


class ApiServer(BaseApplication):  # type: ignore[misc]  # untyped
    """gunicorn application. ``make_api`` runs in each worker process, after the fork."""

    close: Callable[[float], None]

    def __init__(self, make_api: Callable[[], Api], **options: Any) -> None:
        self._make_api = make_api
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's options."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> ASGIApp:
        """Create the application of this process and return it.

        Keep its ``close`` function for the end of the process, and exclude all objects that exist now from garbage
        collection.
        """
        app, self.close = self._make_api()
        # These objects live as long as the process. A full collection of them would stop every request for a
        # tenth of a second each time.
        gc.collect()
        gc.freeze()
        return app


def serve_api(
    make_api: Callable[[], Api],
    *,
    host: str,
    port: int,
    processes: int,
    grace_seconds: float,
    log_level: str,
) -> None:
    """Serve until SIGTERM or SIGINT. Never return."""
    ApiServer(
        make_api,
        bind=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        workers=processes,
        worker_class=ApiWorker,
        timeout=60,
        graceful_timeout=max(1, int(grace_seconds)),
        keepalive=15,
        loglevel=log_level if log_level != "info" else "warning",
        control_socket_disable=True,
        proc_name="uprez-api",
        forwarded_allow_ips="",
    ).run()
