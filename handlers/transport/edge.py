"""The outermost layer: what holds for every answer of every kind, crashes included."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from handlers.transport.contract import METHOD
from handlers.transport.envelope import Answer, status_answer
from handlers.transport.json_encoding import json_bytes
from handlers.transport.validation import SUBMITTED

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)

REQUEST_ID = "uprez_request_id"
_MAX_PATH = 4096
"""Ids of more digits are no ids; Python refuses to read them with an error of its own. A link to a file
whose name has 255 rare letters takes half of it.
"""


class Edge:
    """Request id, safe headers, HEAD as GET, no redirects, 500 in the envelope, spooled files closed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, receive, send).run(self._app)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._request_id = secrets.token_hex(16)
        self._head = scope["method"] == "HEAD"
        self._receive = receive
        self._send = send
        self._started = False
        self._body_unread = _has_body(scope)
        self._context: dict[str, object] = {}
        extensions = {
            **scope.get("extensions", {}),
            REQUEST_ID: self._request_id,
            METHOD: scope["method"],
            "connexion_context": self._context,
        }
        self._scope: Scope = {**scope, "extensions": extensions}
        if self._head:
            self._scope["method"] = "GET"

    async def run(self, app: ASGIApp) -> None:
        path = self._scope["path"]
        try:
            if _is_nowhere(path):
                await respond(status_answer(404), self._scope, self.receive, self.send)
            else:
                await app(self._scope, self.receive, self.send)
        except Exception:
            _log.exception("Request %s crashed.", self._request_id)
            if self._started:
                raise  # the server closes the connection, so that the client sees it was cut
            await respond(status_answer(500), self._scope, self.receive, self.send)
        finally:
            await self._close_files()

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._body_unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Cache-Control", "no-store")
            if self._body_unread:
                headers["Connection"] = "close"  # the rest is not wanted, and no next request hides in it
        elif self._head:
            message = {**message, "body": b""}
        await self._send(message)

    async def _close_files(self) -> None:
        submitted = self._context.get(SUBMITTED)
        if submitted is not None:
            for uploads in submitted.all_files.values():  # type: ignore[attr-defined]
                for upload in uploads:
                    await upload.close()


def _is_nowhere(path: str) -> bool:
    """Paths that no resource has, and that the routers behind us would disagree about.

    A slash too many would be redirected, and a line break ends a path for one router and not for the other.
    """
    slashes = (path.endswith("/") and path != "/") or "//" in path
    return slashes or "\n" in path or len(path) > _MAX_PATH


async def respond(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    response = Response(
        json_bytes(answer.body), answer.status, dict(answer.headers), media_type="application/json"
    )
    await response(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
