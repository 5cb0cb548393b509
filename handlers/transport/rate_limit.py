"""Hourly rate limit: counts each request once, by account if its token is valid, otherwise by address."""

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
    from handlers.transport.threads import ThreadPool

_WINDOW = "uprez_hourly_window"


def count_request(
    services: Services, context: dict[str, Any], principal: Principal | None, address: str
) -> None:
    """Count the request and store its window in the context, for ``rate_limit_headers``.

    Raise TooManyRequests.
    """
    window = hourly_limit.count(services, hourly_limit.allowance(services, principal, address))
    context[_WINDOW] = window
    hourly_limit.admit(window)


def rate_limit_headers(context: Mapping[str, Any]) -> dict[str, str]:
    """Return ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers); empty if the request
    was not counted.
    """
    window: Window | None = context.get(_WINDOW)
    if window is None:
        return {}
    return {
        "RateLimit-Policy": f'"hour";q={window.limit};w={hourly_limit.HOUR_SECONDS}',
        "RateLimit": f'"hour";r={window.remaining};t={window.resets_in_seconds}',
    }


def client_address(scope: Mapping[str, Any]) -> str:
    """Return the address of the connection's peer, or the one that a trusted proxy forwarded."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


class AnonymousRateLimit:
    """Count requests for operations without authentication; ``security`` counts the others when it authenticates.

    ``authenticate`` maps an Authorization header to its principal, so that a valid token is counted by account here
    too.
    """

    def __init__(
        self,
        app: ASGIApp,
        contract: Contract,
        services: Services,
        threads: ThreadPool,
        authenticate: Callable[[str | None], Principal | None],
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._contract = contract
        self._services = services
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = operation_id(scope)
        if operation is not None and self._contract.is_counted_public(operation):
            await self._threads.run(self._count, scope)
        await self._app(scope, receive, send)

    def _count(self, scope: Scope) -> None:
        principal = self._authenticate(Headers(scope=scope).get("Authorization"))
        context = scope["extensions"]["connexion_context"]
        count_request(self._services, context, principal, client_address(scope))
