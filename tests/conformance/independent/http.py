"""WSGI over the standard library: a thread for each connection, and the envelope for what is no HTTP at all."""

from __future__ import annotations

import contextlib
import json
import socket
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from collections.abc import Callable

_LINGER_SECONDS = 2


class Connections(ThreadingMixIn, WSGIServer):
    """On a free port of this machine."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, application: Callable[..., Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.set_app(application)

    def server_bind(self) -> None:
        super(WSGIServer, self).server_bind()  # without asking a name server who 127.0.0.1 is
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hung up does not wait for an answer."""


class _Connection(WSGIRequestHandler):
    server_version, sys_version = "small", ""

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # named so by the library
        pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        sentence = message or HTTPStatus(code).phrase
        body = json.dumps({"success": False, "message": sentence}).encode()
        self.send_response(code)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-Request-Id": "none",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def finish(self) -> None:
        """Closing while a body is still arriving would take the answer from the client again."""
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            while self.connection.recv(65536):
                pass
        with contextlib.suppress(OSError):
            super().finish()
