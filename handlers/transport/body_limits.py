"""Middleware that enforces the size, the media type and the time limit of a body, before it is validated."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from handlers.transport.contract import operation_id
from handlers.transport.envelope import TransportError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from handlers.transport.contract import BodyRules, Contract


def _checked_headers(raw: list[tuple[bytes, bytes]], rules: BodyRules) -> list[tuple[bytes, bytes]]:
    """Return the headers with one Content-Type, spelled as in the contract: Connexion compares it literally.

    Raise TransportError 413 for a declared length over the limit, 415 for another media type.
    """
    headers = Headers(raw=raw)
    if int(headers.get("content-length", "0")) > rules.max_bytes:
        raise TransportError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    media_type, semicolon, parameters = headers.get("content-type", "").partition(";")
    media_type = media_type.strip().lower()
    if media_type not in rules.media_types:
        raise TransportError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    content_type = f"{media_type}{semicolon}{parameters}".encode("latin-1")
    return [header for header in raw if header[0] != b"content-type"] + [(b"content-type", content_type)]


class BodyLimits:
    """413 and 415 from the headers alone; 413 or 408 while a body arrives.

    An operation without a body in the contract has the time limit only. ``timeout_seconds`` bounds the wait
    for each part of a body, not the whole body.
    """

    def __init__(self, app: ASGIApp, contract: Contract, timeout_seconds: float) -> None:
        self._app = app
        self._contract = contract
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the headers of an operation with a body, and limit its ``receive``.

        Pass on what is no operation. Raise TransportError 413 or 415.
        """
        operation = operation_id(scope)
        if operation is None:
            await self._app(scope, receive, send)
            return
        rules = self._contract.body_rules(operation)
        if rules.media_types:
            scope = {**scope, "headers": _checked_headers(scope["headers"], rules)}
        await self._app(scope, self._limited(receive, rules), send)

    def _limited(self, receive: Receive, rules: BodyRules) -> Receive:
        """Return a ``receive`` that raises TransportError 408 or 413 until the body is complete."""
        received = 0
        complete = False

        async def limited() -> Message:
            """Return the next message. After the body's end, wait for the disconnect without a limit."""
            nonlocal received, complete
            if complete:
                return await receive()  # waits for the disconnect, without a time limit
            try:
                message = await asyncio.wait_for(receive(), self._timeout_seconds)
            except TimeoutError:
                raise TransportError(HTTPStatus.REQUEST_TIMEOUT) from None
            received += len(message.get("body", b""))
            if received > rules.max_bytes and rules.media_types:
                raise TransportError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            complete = not message.get("more_body", False)
            return message

        return limited
