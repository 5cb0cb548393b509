"""Middleware that counts the requests of public operations for the hourly rate limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from handlers.transport.contract import operation_id
from handlers.transport.rate_limit import client_address, count_request
from handlers.transport.request_context import request_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from domain.records import Principal
    from domain.services import Services
    from handlers.transport.contract import Contract
    from handlers.transport.threads import ThreadPool


class PublicRateLimit:
    """Count the requests of operations that need no token; raise TooManyRequests.

    ``authenticate`` maps an Authorization header to its principal: a request with a valid token is counted by
    account here, too. Operations that the contract exempts are not counted.
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
        """Count a request of a public operation on a thread, then pass it on; pass on others uncounted.

        Public operations that the contract exempts are not counted either. Raise TooManyRequests above the limit.
        """
        operation = operation_id(scope)
        if operation is not None and self._contract.is_counted_public(operation):
            await self._threads.run(self._count, scope)
        await self._app(scope, receive, send)

    def _count(self, scope: Scope) -> None:
        """Count the request by its token's account or its address; store the window in the request's context."""
        principal = self._authenticate(Headers(scope=scope).get("Authorization"))
        context = request_context(scope)
        count_request(self._services, context, principal, client_address(scope))
