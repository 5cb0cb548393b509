"""Outermost layer, except for proxies and CORS: applies to every response, crashes included."""

from __future__ import annotations

import logging
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from handlers.transport.contract import METHOD
from handlers.transport.envelope import ErrorResponse, response_for_status
from handlers.transport.json_encoding import json_bytes
from handlers.transport.parsed_body import PARSED_BODY
from handlers.transport.request_context import CONTEXT

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)

REQUEST_ID = "uprez_request_id"
"""Key in the scope's extensions."""
_MAX_PATH_CHARACTERS = 4096
"""An id with more digits cannot exist, and Python raises an error when it parses one. A link to a file
whose name has 255 non-ASCII letters needs half of this length.
"""


def _is_unroutable(path: str) -> bool:
    """Return whether no resource has such a path; the inner routers would disagree about it.

    A redundant slash would be redirected. A line break ends a path for one router and not for the other.
    """
    redundant_slash = (path.endswith("/") and path != "/") or "//" in path
    return redundant_slash or "\n" in path or len(path) > _MAX_PATH_CHARACTERS


def _has_body(scope: Scope) -> bool:
    """Return whether the headers announce a body; a length of 0 is none."""
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _send_error(error: ErrorResponse, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the response with its envelope as JSON."""
    response = Response(
        json_bytes(error.body), error.status, dict(error.headers), media_type="application/json"
    )
    await response(scope, receive, send)


class Edge:
    """Request id, safe headers, HEAD as GET, no redirects, crashes as 500 in the envelope, spooled files
    closed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run an HTTP request as an ``_Exchange``; pass on lifespan messages."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, receive, send).run(self._app)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request an id and a context; HEAD becomes GET for the application."""
        self._request_id = secrets.token_hex(16)
        self._head = scope["method"] == "HEAD"
        self._receive = receive
        self._send = send
        self._started = False
        self._body_unread = _has_body(scope)
        self._context: dict[str, object] = {}
        # The inner layers share this dict and write to it; the outer ones read it when the response starts.
        extensions = {
            **scope.get("extensions", {}),
            REQUEST_ID: self._request_id,
            METHOD: scope["method"],
            CONTEXT: self._context,
        }
        self._scope: Scope = {**scope, "extensions": extensions}
        if self._head:
            self._scope["method"] = "GET"

    async def run(self, app: ASGIApp) -> None:
        """Run the application, and close the uploaded files in every case.

        Respond with 404 to a path that cannot be routed. An exception is logged and becomes a 500; if the
        response has started, raise it.
        """
        path = self._scope["path"]
        try:
            if _is_unroutable(path):
                not_found = response_for_status(HTTPStatus.NOT_FOUND)
                await _send_error(not_found, self._scope, self.receive, self.send)
            else:
                await app(self._scope, self.receive, self.send)
        except Exception:
            _log.exception("request_crashed request_id=%s", self._request_id)
            if self._started:
                raise  # the server closes the connection, so that the client detects the truncated response
            crash = response_for_status(HTTPStatus.INTERNAL_SERVER_ERROR)
            await _send_error(crash, self._scope, self.receive, self.send)
        finally:
            await self._close_files()

    async def receive(self) -> Message:
        """Return the next message, and remember when the body has ended or the client has disconnected."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._body_unread = False
        return message

    async def send(self, message: Message) -> None:
        """Send a message, with the common headers; without its body if the request is HEAD.

        If the request's body is not read to its end, the response closes the connection.
        """
        if message["type"] == "http.response.start":
            self._started = True
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Cache-Control", "no-store")
            if self._body_unread:
                # The rest of the body is not read, and must not be parsed as the next request.
                headers["Connection"] = "close"
        elif self._head:
            message = {**message, "body": b""}
        await self._send(message)

    async def _close_files(self) -> None:
        """Close every uploaded file of the request, valid or not; this deletes its temporary copy."""
        body = self._context.get(PARSED_BODY)
        if body is not None:
            for uploads in body.all_files.values():  # type: ignore[attr-defined]
                for upload in uploads:
                    await upload.close()
