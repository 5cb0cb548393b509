"""Middleware between Connexion's own: methods before routing, body rules before validation, quota headers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from domain import quota
from domain.errors import Unavailable
from handlers.transport.contract import BASE_PATH, operation_id
from handlers.transport.edge import REQUEST_ID
from handlers.transport.envelope import TransportError
from handlers.transport.rate_limit import limit_headers
from handlers.transport.security import PRINCIPAL

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from domain.records import Principal
    from domain.services import Services
    from handlers.transport.contract import BodyRules, Contract
    from handlers.transport.threads import Threads


_log = logging.getLogger(__name__)


class Methods:
    """404 for a path that no resource of the contract has, 405 with ``Allow`` for a method that it lacks.

    Connexion's router would pass an unknown path on to Flask's, which reads paths more generously, and
    it knows one method at a time, so that its own ``Allow`` is wrong.
    """

    def __init__(self, app: ASGIApp, contract: Contract) -> None:
        self._app = app
        self._contract = contract

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{BASE_PATH}/"):
            allowed = self._contract.allowed_methods(scope["path"].removeprefix(BASE_PATH))
            if not allowed:
                raise TransportError(404)
            if scope["method"] not in allowed:
                raise TransportError(405, {"Allow": ", ".join(allowed)})
        await self._app(scope, receive, send)


class BodyLimits:
    """413 and 415 from the headers alone, and 413 or 408 while a body arrives."""

    def __init__(self, app: ASGIApp, contract: Contract, timeout_seconds: float) -> None:
        self._app = app
        self._contract = contract
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = operation_id(scope)
        if operation is None:
            await self._app(scope, receive, send)
            return
        rules = self._contract.body_rules(operation)
        if rules.media_types:
            scope = {**scope, "headers": _checked_headers(scope["headers"], rules)}
        await self._app(scope, self._limited(receive, rules), send)

    def _limited(self, receive: Receive, rules: BodyRules) -> Receive:
        received = 0
        complete = False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()  # waits for the client to go away, for as long as it stays
            try:
                message = await asyncio.wait_for(receive(), self._timeout_seconds)
            except TimeoutError:
                raise TransportError(408) from None
            received += len(message.get("body", b""))
            if received > rules.max_bytes and rules.media_types:
                raise TransportError(413)
            complete = not message.get("more_body", False)
            return message

        return limited


class LimitHeaders:
    """``RateLimit*`` on every answer that was counted; ``X-RateLimit-*``, the monthly quota, on those of image
    operations, errors too, once it is known who asks.
    """

    def __init__(self, app: ASGIApp, contract: Contract, services: Services, threads: Threads) -> None:
        self._app = app
        self._contract = contract
        self._services = services
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                context = scope["extensions"]["connexion_context"]
                headers = MutableHeaders(scope=message)
                headers.update(limit_headers(context))
                principal, operation = context.get(PRINCIPAL), operation_id(scope)
                if principal is not None and operation and self._contract.shows_quota(operation):
                    try:
                        headers.update(await self._quota(principal, scope["method"]))
                    except Unavailable:
                        # The answer was made before and stands; its headers are all that is missing.
                        request_id = scope["extensions"][REQUEST_ID]
                        _log.warning("Request %s goes without its quota.", request_id, exc_info=True)
            await send(message)

        await self._app(scope, receive, send_with_limits if scope["type"] == "http" else send)

    async def _quota(self, principal: Principal, method: str) -> dict[str, str]:
        if method == "GET":  # which uses nothing up
            usage = quota.usage_at_authentication(self._services, principal)
        else:
            usage = await self._threads.run(quota.this_month, self._services, principal.account)
        if usage.limit is None:
            return {"X-RateLimit-Limit": "unlimited", "X-RateLimit-Remaining": "unlimited"}
        return {"X-RateLimit-Limit": str(usage.limit), "X-RateLimit-Remaining": str(usage.remaining)}


def _checked_headers(raw: list[tuple[bytes, bytes]], rules: BodyRules) -> list[tuple[bytes, bytes]]:
    """With one Content-Type, its media type as the contract writes it: Connexion reads it to the letter."""
    headers = Headers(raw=raw)
    if int(headers.get("content-length", "0")) > rules.max_bytes:
        raise TransportError(413)
    media_type, semicolon, parameters = headers.get("content-type", "").partition(";")
    media_type = media_type.strip().lower()
    if media_type not in rules.media_types:
        raise TransportError(415)
    content_type = f"{media_type}{semicolon}{parameters}".encode("latin-1")
    return [header for header in raw if header[0] != b"content-type"] + [(b"content-type", content_type)]
