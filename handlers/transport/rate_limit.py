"""Counting requests: each once, with the token if it is valid, otherwise by address; and telling of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from domain import hourly_limit
from handlers.transport.contract import operation_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from domain.ports import Window
    from domain.records import Principal
    from domain.services import Services
    from handlers.transport.contract import Contract
    from handlers.transport.threads import Threads

_WINDOW = "uprez_hourly_window"


def count_request(
    services: Services, context: dict[str, Any], principal: Principal | None, address: str
) -> None:
    """Raises TooManyRequests. What the answer is to tell of it is kept in the request's context."""
    window = hourly_limit.count(services, hourly_limit.allowance(services, principal, address))
    context[_WINDOW] = window
    hourly_limit.admit(window)


def limit_headers(context: Mapping[str, Any]) -> dict[str, str]:
    """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers) of a counted request."""
    window: Window | None = context.get(_WINDOW)
    if window is None:
        return {}
    return {
        "RateLimit-Policy": f'"hour";q={window.limit};w={hourly_limit.HOUR_SECONDS}',
        "RateLimit": f'"hour";r={window.remaining};t={window.resets_in_seconds}',
    }


def client_address(scope: Mapping[str, Any]) -> str:
    """The other end of the connection, or whom a trusted proxy there speaks for."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


class AnonymousRateLimit:
    """Counts requests for operations that ask for no token; the others are counted when it was looked at.

    Whoever brings a valid token nevertheless is no stranger: ``who_asks`` says so from the Authorization header.
    """

    def __init__(
        self,
        app: ASGIApp,
        contract: Contract,
        services: Services,
        threads: Threads,
        who_asks: Callable[[str | None], Principal | None],
    ) -> None:
        self._app = app
        self._who_asks = who_asks
        self._contract = contract
        self._services = services
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = operation_id(scope)
        if operation is not None and self._contract.counts_by_address(operation):
            await self._threads.run(self._count, scope)
        await self._app(scope, receive, send)

    def _count(self, scope: Scope) -> None:
        principal = self._who_asks(Headers(scope=scope).get("Authorization"))
        context = scope["extensions"]["connexion_context"]
        count_request(self._services, context, principal, client_address(scope))
