"""CORS: lets pages of the configured origins call the API from a browser."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from handlers.transport.edge import Edge
from handlers.transport.envelope import REASON, failure, success
from handlers.transport.json_encoding import json_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Receive, Scope, Send

PREFLIGHT_REJECTED = "preflight_rejected"
_METHODS = ("GET", "HEAD", "POST", "DELETE")
_REQUEST_HEADERS = ("Authorization", "If-None-Match", "Range")
_EXPOSED_HEADERS = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-Request-Id",
    REASON,
)
"""Response headers that a script may read in addition to the safelisted ones."""


class CrossOrigin(CORSMiddleware):
    """CORS headers on every response, crashes included, so that scripts can read them.

    Responses to preflights are in the envelope. It never sends ``Access-Control-Allow-Credentials``: the
    script sends the token, not the browser.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
        )
        self._handle_preflight = Edge(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a preflight request.

        Pass on every other request and add the CORS headers to its response.
        """
        names = {name for name, _ in scope.get("headers", ())}
        preflight = (
            scope.get("method") == "OPTIONS" and {b"origin", b"access-control-request-method"} <= names
        )
        handle = self._handle_preflight if preflight else super().__call__
        await handle(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return Starlette's response with its text in the envelope."""
        response = super().preflight_response(request_headers)
        text = bytes(response.body).decode()
        body = success(text) if response.status_code < HTTPStatus.BAD_REQUEST else failure(text)
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            headers[REASON] = PREFLIGHT_REJECTED
        return Response(json_bytes(body), response.status_code, headers, media_type="application/json")
