"""From ASGI to Flask in one hop: a request runs on one thread from beginning to end.

The bridge that Connexion brings hands every chunk of the body and of the answer over a queue between
threads, and has ten of them. Bodies are read before they come here, or not at all, so none of that is needed.
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

    from handlers.transport.threads import Threads

_END: Any = object()
_FILE_CHUNK_BYTES = 256 * 1024
"""Each chunk of a file costs a hop to a thread and back."""


class FlaskBridge:
    def __init__(self, wsgi_app: Callable[..., Iterable[bytes]], threads: Threads) -> None:
        self.app = wsgi_app
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        environ: Any = build_environ(scope, BytesIO())  # type: ignore[arg-type]
        environ["REQUEST_METHOD"] = scope["extensions"][METHOD]  # for HEAD, nothing is read that nobody gets
        environ["CONTENT_LENGTH"] = "0"  # what was sent where no body belongs stays unread
        environ.pop("HTTP_UPGRADE", None)  # to werkzeug a WebSocket, for which there is no route
        environ["wsgi.file_wrapper"] = lambda file, _size: FileWrapper(file, _FILE_CHUNK_BYTES)
        answer = await self._threads.run(_Answer, self.app, environ)
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            if answer.second is _END:
                await send({"type": "http.response.body", "body": answer.first})
            else:
                await self._stream(answer, receive, send)
        finally:
            if answer.second is not _END:
                await self._threads.run(answer.close)

    async def _stream(self, answer: _Answer, receive: Receive, send: Send) -> None:
        """Until the client goes away: what is sent after that, the server drops without a word."""
        leaving = asyncio.create_task(_has_left(receive))
        try:
            chunk, following = answer.first, answer.second
            while following is not _END:
                if leaving.done() and leaving.result():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk, following = following, await self._threads.run(next, answer.rest, _END)
            await send({"type": "http.response.body", "body": chunk})
        finally:
            leaving.cancel()


async def _has_left(receive: Receive) -> bool:
    """True once the client is gone; False if that cannot be learnt without reading what nobody wants."""
    try:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            message = await receive()  # nothing is left to come but this
    except UprezError:  # a body that stalls or is too large, where none belongs: as unwanted as any other
        return False
    return bool(message["type"] == "http.disconnect")


class _Answer:
    """The application's answer; closed already if it has no second chunk, as almost none has."""

    def __init__(self, app: Callable[..., Iterable[bytes]], environ: Any) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._iterable = app(environ, self._start)
        self.rest = iter(self._iterable)
        self.first = next(self.rest, b"")
        self.second = next(self.rest, _END)
        if self.second is _END:
            self.close()

    def close(self) -> None:
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()

    def _start(self, status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
        self.status = int(status.split(" ", 1)[0])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
