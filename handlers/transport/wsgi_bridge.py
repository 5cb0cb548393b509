"""ASGI application that runs a WSGI application with each request on one thread.

Connexion's bridge passes every chunk of the request body and the response through a queue between threads, and has
ten threads. A body is read before it reaches this bridge, or not at all, so neither is needed.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import TYPE_CHECKING, Any

from a2wsgi.wsgi import build_environ
from werkzeug.wsgi import FileWrapper

from domain.errors import UprezError
from handlers.transport.contract import METHOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import Receive, Scope, Send

    from handlers.transport.threads import ThreadPool

_END: Any = object()
_FILE_CHUNK_BYTES = 256 * 1024
"""Each chunk of a file costs a switch to a thread and back."""


async def _has_disconnected(receive: Receive) -> bool:
    """Wait for the client's disconnect and return True. Return False if a body that is not read hides it."""
    try:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            message = await receive()  # only the disconnect can follow
    except UprezError:  # an unwanted body that stalls or is too large is ignored like any other
        return False
    return bool(message["type"] == "http.disconnect")


class WsgiBridge:
    """ASGI application around ``wsgi_app``."""

    def __init__(self, wsgi_app: Callable[..., Iterable[bytes]], threads: ThreadPool) -> None:
        self.app = wsgi_app
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the WSGI application on a thread with an empty body, and send its response.

        Ignore anything but HTTP. A response of one part is sent at once; a longer one is streamed and closed
        in every case.
        """
        if scope["type"] != "http":
            return
        environ: Any = build_environ(scope, BytesIO())  # type: ignore[arg-type]
        environ["REQUEST_METHOD"] = scope["extensions"][METHOD]  # with HEAD, Flask reads no file for the body
        environ["CONTENT_LENGTH"] = "0"  # a body that the operation does not have stays unread
        environ.pop("HTTP_UPGRADE", None)  # werkzeug would see a WebSocket, for which there is no route
        environ["wsgi.file_wrapper"] = lambda file, _size: FileWrapper(file, _FILE_CHUNK_BYTES)
        response = await self._threads.run(_WsgiResponse, self.app, environ)
        try:
            await send(
                {"type": "http.response.start", "status": response.status, "headers": response.headers}
            )
            if response.second is _END:
                await send({"type": "http.response.body", "body": response.first})
            else:
                await self._stream(response, receive, send)
        finally:
            if response.second is not _END:
                await self._threads.run(response.close)

    async def _stream(self, response: _WsgiResponse, receive: Receive, send: Send) -> None:
        """Send the chunks, each fetched on a thread, and stop when the client disconnects."""
        disconnected = asyncio.create_task(_has_disconnected(receive))
        try:
            chunk, following = response.first, response.second
            while following is not _END:
                if disconnected.done() and disconnected.result():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk, following = following, await self._threads.run(next, response.rest, _END)
            await send({"type": "http.response.body", "body": chunk})
        finally:
            disconnected.cancel()


class _WsgiResponse:
    """The WSGI application's response.

    It is closed already if it has no second chunk, which is the common case.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], environ: Any) -> None:
        """Run the application and fetch the first two parts of its response.

        Close a response of one part at once.
        """
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._iterable = app(environ, self._start)
        self.rest = iter(self._iterable)
        self.first = next(self.rest, b"")
        self.second = next(self.rest, _END)
        if self.second is _END:
            self.close()

    def close(self) -> None:
        """Close the application's iterable if it has ``close``."""
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()

    def _start(self, status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
        """Store status and headers; names become lower case."""
        self.status = int(status.split(" ", 1)[0])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
