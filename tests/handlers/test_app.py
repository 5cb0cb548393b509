"""The middleware stack of the running application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handlers.app import MIDDLEWARE, create_app
from handlers.transport.cors import CrossOrigin
from handlers.transport.proxies import TrustedProxies
from handlers.transport.views import OperationsApp
from tests.handlers.conftest import InProcessClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.handlers.conftest import Server


def layers(app: Any) -> Iterator[type]:
    """Yield the classes of the stack, outermost first, down to the Flask application."""
    while True:
        yield type(app)
        if isinstance(app, OperationsApp):
            return
        # Each library has its own name for the inner application.
        app = next(vars(app)[name] for name in ("_app", "app", "next_app") if name in vars(app))


def running_layers(server: Server, **options: Any) -> list[type]:
    app: Any = create_app(server.services, threads=1, body_timeout_seconds=1, **options)
    InProcessClient(app, server.checker).request(
        "GET", "/health/live"
    )  # Connexion builds the stack for the first request
    return list(layers(app.app))


def test_middleware_runs_in_the_listed_order(server: Server) -> None:
    running = running_layers(
        server, cors_origins=["https://app.example"], trusted_proxies=["10.0.0.1"], check_responses=True
    )

    assert running == [*MIDDLEWARE, OperationsApp]


def test_proxies_and_cors_are_left_out_by_default(server: Server) -> None:
    running = running_layers(server)

    assert running == [
        layer for layer in (*MIDDLEWARE, OperationsApp) if layer not in {TrustedProxies, CrossOrigin}
    ]
