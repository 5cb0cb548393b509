"""A threaded WSGI server of the standard library. Errors below the application use the envelope too."""

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


class ThreadedServer(ThreadingMixIn, WSGIServer):
    """A server on a free port of 127.0.0.1, with one thread per connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, application: Callable[..., Any]) -> None:
        super().__init__(("127.0.0.1", 0), _RequestHandler)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind without the reverse DNS lookup that HTTPServer does."""
        super(WSGIServer, self).server_bind()
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: the client closed the connection."""


class _RequestHandler(WSGIRequestHandler):
    server_version, sys_version = "small", ""

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in the library
        pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send the envelope of an error, for a request that is not valid HTTP."""
        body = json.dumps({"success": False, "message": message or HTTPStatus(code).phrase}).encode()
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
        """Read the rest of the request body before closing.

        Closing earlier resets the connection, and the client loses the response.
        """
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            while self.connection.recv(65536):
                pass
        with contextlib.suppress(OSError):
            super().finish()
