"""uvicorn's HTTP protocol, with its own refusals in the envelope and a bound on the header."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from handlers.transport.envelope import status_answer
from handlers.transport.json_encoding import json_bytes

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

MAX_HEADER_BYTES = 32 * 1024
_LINGER_SECONDS = 2.0
"""How long a refused body is still read and thrown away, so that the client gets to read why."""


class EnvelopeProtocol(HttpToolsProtocol):
    header_seconds = 10.0
    """How long a header may take, and a new connection until its first request; uvicorn knows no bound."""

    write_seconds = 60.0
    """How long a client may read nothing of what fills its buffers, and hold a file and a connection for it."""

    _write_timer: asyncio.TimerHandle | None = None
    _header_timer: asyncio.TimerHandle | None = None
    _header_begun = False
    _header_bytes = 0
    _unfinished_bytes = 0
    _lingering = False
    _running: RequestResponseCycle | None = None
    """The exchange whose turn it is. uvicorn only knows the newest, which may wait behind others."""
    _refusal: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting_header()
        self._stop_awaiting_reader()
        self.pipeline.clear()
        self._give_up_running()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingering or self._refusal is not None:
            return
        if self._unfinished_bytes > MAX_HEADER_BYTES:
            # A header (or trailer) that never ends: the parser keeps all of it and never says a word.
            self._refuse(431)
            return
        self._unfinished_bytes += len(data)
        super().data_received(data)
        if not self._is_answering() and not self._lingering:
            # Bytes that begin no request, as empty lines do: they have stopped uvicorn's timer for idleness.
            self._await_header()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_awaiting_reader()
        super().resume_writing()

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        self._header_begun = True
        self._await_header()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(name + value)
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the reason is for our log alone
        # The parser wraps whatever a callback raised, so the bound is looked at here.
        self._refuse(431 if self._header_bytes > MAX_HEADER_BYTES else 400)

    def _count(self, part: bytes) -> None:
        self._header_bytes += len(part)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("The header is too large.")

    def _refuse(self, status: int) -> None:
        """Answers what cannot be read, and ends the connection; requests that came whole before it go first."""
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()  # the newest, which was being read
        if self._is_answering() and not self._running_is_read():
            self._give_up_running()
            if self._running is not None and self._running.response_started:
                self.transport.close()
                return
        elif self._is_answering():
            self._refusal = status
            return
        self._write_refusal(status)

    def _write_refusal(self, status: int) -> None:
        body = json_bytes(status_answer(status).body)
        self.transport.write(
            b"".join(
                [
                    STATUS_LINE[status],
                    b"content-type: application/json\r\n",
                    b"content-length: %d\r\n" % len(body),
                    b"x-request-id: %s\r\n" % secrets.token_hex(16).encode(),
                    b"x-content-type-options: nosniff\r\n",
                    b"cache-control: no-store\r\n",
                    b"connection: close\r\n\r\n",
                    body,
                ]
            )
        )
        self.linger()

    def on_body(self, body: bytes) -> None:
        self._unfinished_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unfinished_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._refusal is not None and not self._is_answering() and not self.transport.is_closing():
            self._write_refusal(self._refusal)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_headers_complete(self) -> None:
        self._header_begun = False
        self._stop_awaiting_header()
        self._unfinished_bytes = 0
        super().on_headers_complete()
        if self.cycle is not None:  # its task has not run yet
            self.cycle.transport = cast("Any", _LingeringTransport(self))

    def _await_header(self) -> None:
        """From now on, if not already: a client that sends a byte now and then gains nothing."""
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_seconds, self._header_is_late)

    def _stop_awaiting_reader(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _stop_awaiting_header(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_is_late(self) -> None:
        self._header_timer = None
        if self._lingering or self.transport.is_closing():
            return
        if self._is_answering():
            self._await_header()  # of the next request, which waits its turn and may not even be read
        elif self._header_begun:
            self._refuse(408)
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _running_is_read(self) -> bool:
        return self._running is not None and not self._running.more_body

    def _give_up_running(self) -> None:
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def linger(self) -> None:
        """Says that nothing more comes, and reads what the client still sends into nothing for a while.

        Closing at once would reset the connection under a client that is writing, and our answer would
        be lost on its way.
        """
        self._lingering = True
        self._stop_awaiting_header()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


class _LingeringTransport:
    """The transport as one exchange sees it: closing before the body is read is done gently."""

    def __init__(self, protocol: EnvelopeProtocol) -> None:
        self._protocol = protocol
        self._cycle = protocol.cycle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol.transport, name)

    def write(self, data: bytes) -> None:
        if not self._protocol.transport.is_closing():  # the loop complains of writing then
            self._protocol.transport.write(data)

    def close(self) -> None:
        if self._cycle.more_body and not self._protocol.transport.is_closing():
            self._protocol.linger()
        else:
            self._protocol.transport.close()
