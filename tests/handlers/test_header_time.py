"""Time limits for headers and for reading responses, in one process with short limits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from handlers.transport.protocol import EnvelopeProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

SECONDS = 0.2
IDLE_SECONDS = 30.0
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class ShortTimeouts(EnvelopeProtocol):
    header_seconds = SECONDS
    write_seconds = SECONDS


LARGE = 64 * 1024 * 1024


async def slow_app(scope: Scope, _receive: Receive, send: Send) -> None:
    """Respond after one and a half times the time limit of a header."""
    if scope["path"] == "/large":
        length = str(LARGE).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(LARGE // 64), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    await asyncio.sleep(SECONDS * 1.5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def run_conversation(
    conversation: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    async def run() -> None:
        config = Config(slow_app, timeout_keep_alive=IDLE_SECONDS, log_config=None)  # type: ignore[arg-type]
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: ShortTimeouts(config, state, {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            async with asyncio.timeout(60):
                await conversation(reader, writer)
        finally:
            writer.close()
            server.close()

    asyncio.run(run())


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\n", REQUEST[:-2]])
def test_incomplete_header_returns_408(start: bytes) -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 408 ")

    run_conversation(conversation)


def test_single_bytes_do_not_extend_the_header_time() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST[:-2] + b"X: ")
        response = asyncio.create_task(reader.read())
        for _ in range(20):
            await asyncio.sleep(SECONDS / 4)
            if response.done():
                break
            writer.write(b"x")
        assert response.done()
        assert response.result().startswith(b"HTTP/1.1 408 ")

    run_conversation(conversation)


@pytest.mark.parametrize("nothing", [b"", b"\r\n"])
def test_idle_connection_is_closed_without_a_response(nothing: bytes) -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(nothing)
        assert await reader.read() == b""

    run_conversation(conversation)


def test_header_time_starts_with_the_next_request() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(REQUEST)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(SECONDS * 2)
        writer.write(REQUEST[:-2])
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")

    run_conversation(conversation)


def test_empty_lines_do_not_keep_a_connection_open() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST)
        await reader.readuntil(b"ok")
        writer.write(b"\r\n")
        assert await reader.read() == b""

    run_conversation(conversation)


def test_incomplete_second_request_keeps_the_first_response() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST + REQUEST[:-2])
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")

    run_conversation(conversation)


def test_client_that_reads_nothing_is_disconnected() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST.replace(b"/ ", b"/large "))
        received = len(await reader.readexactly(1000))
        await asyncio.sleep(SECONDS * 4)  # not reading: all buffers are full
        with suppress(ConnectionResetError):
            while part := await reader.read(65536):
                received += len(part)
        assert received < LARGE

    run_conversation(conversation)


def test_large_response_is_sent_whole() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST.replace(b"/ ", b"/large "))
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.readexactly(LARGE)) == LARGE

    run_conversation(conversation)
