"""Tests of the WSGI bridge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from domain.errors import UprezError
from handlers.transport.contract import METHOD
from handlers.transport.threads import ThreadPool
from handlers.transport.wsgi_bridge import WsgiBridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import Message

CHUNKS = 200


class EndlessBody:
    """A WSGI application whose response counts how many chunks were read."""

    def __init__(self) -> None:
        self.read = 0
        self.closed = False
        self.environ: dict[str, Any] = {}

    def __call__(self, environ: dict[str, Any], start: Callable[..., None]) -> EndlessBody:
        self.environ = environ
        start("200 OK", [("Content-Type", "image/png")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        while self.read < CHUNKS:
            self.read += 1
            yield b"x"

    def close(self) -> None:
        self.closed = True


def exchange(app: EndlessBody, incoming: list[Message | Exception], method: str = "GET") -> list[Message]:
    """Return the sent messages if the client sends ``incoming`` and then nothing."""
    sent: list[Message] = []

    async def receive() -> Message:
        if not incoming:
            await asyncio.Event().wait()
        message = incoming.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "extensions": {METHOD: method},
    }
    asyncio.run(WsgiBridge(app, ThreadPool(1))(scope, receive, send))
    return sent


def test_stream_stops_after_a_disconnect() -> None:
    app = EndlessBody()

    exchange(app, [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}])

    assert app.read < CHUNKS
    assert app.closed


@pytest.mark.parametrize(
    "incoming",
    [
        [],
        [{"type": "http.request", "body": b"", "more_body": False}],
        [{"type": "http.request", "body": b"", "more_body": False}] * 9,
        [{"type": "http.request", "body": b"x", "more_body": True}] * 9,
        [UprezError()],
    ],
)
def test_connected_client_gets_the_whole_stream(
    incoming: list[Message | Exception],
) -> None:
    app = EndlessBody()
    count = len(incoming)

    sent = exchange(app, incoming)

    assert b"".join(message.get("body", b"") for message in sent) == b"x" * CHUNKS
    assert not sent[-1].get("more_body", False)
    assert app.closed
    assert count - len(incoming) <= 2


def test_wsgi_application_gets_the_original_method() -> None:
    app = EndlessBody()

    exchange(app, [], "HEAD")

    assert app.environ["REQUEST_METHOD"] == "HEAD"
