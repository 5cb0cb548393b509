"""CORS: pages of other origins, where the operator has named them, may call the API from a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from handlers.transport.edge import Edge
from handlers.transport.envelope import failure, success
from handlers.transport.json_encoding import json_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Receive, Scope, Send

_METHODS = ("GET", "HEAD", "POST", "DELETE")
_SENT = ("Authorization", "If-None-Match", "Range")
_SHOWN = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-Request-Id",
)
"""What a script may read beyond what browsers show by themselves."""


class CrossOrigin(CORSMiddleware):
    """Outside everything, so that a script reads crashes too; a preflight is answered in the envelope.

    Without ``Access-Control-Allow-Credentials``: a token is sent by the script that has it, never by the browser.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app, allow_origins=origins, allow_methods=_METHODS, allow_headers=_SENT, expose_headers=_SHOWN
        )
        self._answer_preflight = Edge(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        preflight = (
            scope.get("method") == "OPTIONS" and {b"origin", b"access-control-request-method"} <= names
        )
        answer = self._answer_preflight if preflight else super().__call__
        await answer(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        decided = super().preflight_response(request_headers)
        text = bytes(decided.body).decode()
        body = success(text) if decided.status_code < 400 else failure(text)  # noqa: PLR2004
        headers = {name: value for name, value in decided.headers.items() if not name.startswith("content-")}
        return Response(json_bytes(body), decided.status_code, headers, media_type="application/json")
