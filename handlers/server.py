"""gunicorn around the application: processes, signals, and uvicorn inside each worker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from gunicorn.app.base import BaseApplication
from uvicorn_worker import UvicornWorker

from handlers.protocol import EnvelopeProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

_NOTIFY_SECONDS = 1


class ApiWorker(UvicornWorker):  # type: ignore[misc]  # untyped
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "http": EnvelopeProtocol,  # httptools: h11 let a smuggled request through
        "loop": "auto",
        "ws": "none",
        "lifespan": "off",
        "server_header": False,
        "proxy_headers": False,  # handlers/proxies.py knows whom to believe
        "timeout_notify": _NOTIFY_SECONDS,
    }

    async def callback_notify(self) -> None:
        await super().callback_notify()
        if os.getppid() != self.ppid:
            # Nobody would ever stop this process, and it holds the port that the next one needs.
            os._exit(1)


class ApiServer(BaseApplication):  # type: ignore[misc]  # untyped
    """``make_app`` runs in each worker process, after the fork."""

    def __init__(self, make_app: Callable[[], ASGIApp], **options: Any) -> None:
        self._make_app = make_app
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> ASGIApp:
        return self._make_app()


def serve_api(
    make_app: Callable[[], ASGIApp],
    *,
    host: str,
    port: int,
    processes: int,
    grace_seconds: float,
    log_level: str,
) -> None:
    """Serves until SIGTERM or SIGINT; never returns."""
    ApiServer(
        make_app,
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
