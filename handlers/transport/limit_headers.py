"""Middleware that adds the rate limit and the monthly quota to the response headers.

Inner layers store what it needs in the request context: ``rate_limit`` the window, ``security`` the principal.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from domain import hourly_limit, quota
from domain.errors import Unavailable
from handlers.transport.contract import operation_id
from handlers.transport.edge import REQUEST_ID
from handlers.transport.rate_limit import WINDOW
from handlers.transport.request_context import request_context
from handlers.transport.security import PRINCIPAL

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from domain.ports import Window
    from domain.records import Principal
    from domain.services import Services
    from handlers.transport.contract import Contract
    from handlers.transport.threads import ThreadPool

_log = logging.getLogger(__name__)


def _rate_limit_headers(window: Window | None) -> dict[str, str]:
    """Return ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers).

    ``window`` None is a request that was not counted: it has no such header.
    """
    if window is None:
        return {}
    return {
        "RateLimit-Policy": f'"hour";q={window.limit};w={hourly_limit.HOUR_SECONDS}',
        "RateLimit": f'"hour";r={window.remaining};t={window.resets_in_seconds}',
    }


class LimitHeaders:
    """``RateLimit*`` on every response to a counted request, ``X-RateLimit-*`` (the monthly quota) on
    responses of image operations, errors included, once the request is authenticated.
    """

    def __init__(self, app: ASGIApp, contract: Contract, services: Services, threads: ThreadPool) -> None:
        self._app = app
        self._contract = contract
        self._services = services
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and add the headers when its response starts.

        If the quota cannot be read, log it and send the response without the quota's headers.
        """

        async def send_with_limits(message: Message) -> None:
            """Send the message; add the limit headers to the first one."""
            if message["type"] == "http.response.start":
                context = request_context(scope)
                headers = MutableHeaders(scope=message)
                headers.update(_rate_limit_headers(context.get(WINDOW)))
                principal, operation = context.get(PRINCIPAL), operation_id(scope)
                if principal is not None and operation and self._contract.has_quota_headers(operation):
                    try:
                        headers.update(await self._quota_headers(principal, scope["method"]))
                    except Unavailable:
                        # The response is complete and valid without these headers.
                        request_id = scope["extensions"][REQUEST_ID]
                        _log.warning("quota_headers_unavailable request_id=%s", request_id, exc_info=True)
            await send(message)

        await self._app(scope, receive, send_with_limits if scope["type"] == "http" else send)

    async def _quota_headers(self, principal: Principal, method: str) -> dict[str, str]:
        """Return the headers of the monthly quota; none for an account without a limit.

        A GET uses no quota: its values are those of the authentication. All others are read from the
        database; raise Unavailable if that fails.
        """
        if method == "GET":  # a GET uses no quota
            usage = quota.usage_at_authentication(self._services, principal)
        else:
            usage = await self._threads.run(quota.this_month, self._services, principal.account)
        if usage.limit is None:
            return {}
        return {"X-RateLimit-Limit": str(usage.limit), "X-RateLimit-Remaining": str(usage.remaining)}
