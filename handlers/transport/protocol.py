"""uvicorn's HTTP protocol with its errors in the envelope, a limit on the header, and time limits."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from handlers.transport.envelope import REASON, response_for_status
from handlers.transport.json_encoding import json_bytes

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

MAX_HEADER_BYTES = 32 * 1024
_LINGER_SECONDS = 2.0
"""The rest of a rejected body is read and discarded for this long, so that the client can read the response."""


class EnvelopeProtocol(HttpToolsProtocol):
    """Protocol of one connection."""

    header_seconds = 10.0
    """Time limit for a header, and for the first request of a new connection; uvicorn has none."""

    write_seconds = 60.0
    """Time limit for a client that reads nothing while its buffers are full and it holds a file and a connection."""

    _write_timer: asyncio.TimerHandle | None = None
    _header_timer: asyncio.TimerHandle | None = None
    _header_started = False
    _header_bytes = 0
    _unfinished_bytes = 0
    _lingering = False
    _active_cycle: RequestResponseCycle | None = None
    """The exchange whose response is sent now. uvicorn keeps only the newest, which may wait in the pipeline."""
    _pending_error: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start the timer for the first header."""
        super().connection_made(transport)
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, drop requests that wait in the pipeline and disconnect the active one."""
        self._stop_header_timer()
        self._stop_write_timer()
        self.pipeline.clear()
        self._disconnect_active()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data. Ignore it after an error or while the connection closes.

        Reject an endless header or trailer with 431. Unless a response is being sent, start the header timer if it does not
        run.
        """
        if self._lingering or self._pending_error is not None:
            return
        if self._unfinished_bytes > MAX_HEADER_BYTES:
            # The parser buffers a header (or trailer) that never ends, and reports nothing.
            self._reject(431)
            return
        self._unfinished_bytes += len(data)
        super().data_received(data)
        if not self._is_responding() and not self._lingering:
            # Bytes such as empty lines start no request, but they have stopped uvicorn's timer for idleness.
            self._start_header_timer()

    def pause_writing(self) -> None:
        """Stop writing, and abort the connection unless its buffer drains within ``write_seconds``."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the write timer and go on writing."""
        self._stop_write_timer()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """Begin a request: restart the count and the timer of its header."""
        self._header_bytes = 0
        self._header_started = True
        self._start_header_timer()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the bytes of the target. Raise ValueError if the header is too large."""
        self._count_header_bytes(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the bytes of the header field. Raise ValueError if the header is too large."""
        self._count_header_bytes(name + value)
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # clients get no details
        """Respond with the envelope of 400, or of 431 if the header is too large, and close the connection."""
        # The parser replaces the exception of a callback, so that the limit must be checked again here.
        self._reject(431 if self._header_bytes > MAX_HEADER_BYTES else 400)

    def _count_header_bytes(self, part: bytes) -> None:
        """Add to the header's size.

        Raise ValueError, which the parser reports as malformed, over ``MAX_HEADER_BYTES``.
        """
        self._header_bytes += len(part)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("The header is too large.")

    def _reject(self, status: int) -> None:
        """Respond to malformed input and close the connection, after the responses to complete earlier
        requests. An active request without its whole body is disconnected. If its response has started,
        close without an error response.
        """
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()  # the newest request, which is incomplete
        if self._is_responding() and not self._active_request_is_complete():
            self._disconnect_active()
            if self._active_cycle is not None and self._active_cycle.response_started:
                self.transport.close()
                return
        elif self._is_responding():
            self._pending_error = status
            return
        self._write_error(status)

    def _write_error(self, status: int) -> None:
        """Write a whole error response with the envelope and a new request id, then linger."""
        response = response_for_status(status)
        body = json_bytes(response.body)
        self.transport.write(
            b"".join(
                [
                    STATUS_LINE[status],
                    b"content-type: application/json\r\n",
                    b"content-length: %d\r\n" % len(body),
                    b"x-request-id: %s\r\n" % secrets.token_hex(16).encode(),
                    b"x-content-type-options: nosniff\r\n",
                    b"cache-control: no-store\r\n",
                    b"%s: %s\r\n" % (REASON.lower().encode(), response.headers[REASON].encode()),
                    b"connection: close\r\n\r\n",
                    body,
                ]
            )
        )
        self.linger()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body; it does not count as an unfinished header."""
        self._unfinished_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request; what follows counts as the next header."""
        self._unfinished_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request of the pipeline, or write the error that waited for this response."""
        super().on_response_complete()
        if self._pending_error is not None and not self._is_responding() and not self.transport.is_closing():
            self._write_error(self._pending_error)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Start the application for a request, and remember it as the active one."""
        self._active_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def on_headers_complete(self) -> None:
        """Stop the header timer, and let the request's connection linger when it is closed."""
        self._header_started = False
        self._stop_header_timer()
        self._unfinished_bytes = 0
        super().on_headers_complete()
        if self.cycle is not None:  # its task has not started yet
            self.cycle.transport = cast("Any", _LingeringTransport(self))

    def _start_header_timer(self) -> None:
        """Start the timer unless it runs: sending single bytes must not extend the time."""
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_seconds, self._on_header_timeout)

    def _stop_write_timer(self) -> None:
        """Stop the timer for a client that does not read, if it runs."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _stop_header_timer(self) -> None:
        """Stop the timer for the header, if it runs."""
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _on_header_timeout(self) -> None:
        """Respond with 408 to a header that has begun and is incomplete; close a connection on which no
        header has begun.

        While a response is sent, wait once more.
        """
        self._header_timer = None
        if self._lingering or self.transport.is_closing():
            return
        if self._is_responding():
            self._start_header_timer()  # for the next request, which may be in the pipeline and unread
        elif self._header_started:
            self._reject(408)
        else:
            self.transport.close()

    def _is_responding(self) -> bool:
        """Return whether an active request has no complete response yet."""
        return self._active_cycle is not None and not self._active_cycle.response_complete

    def _active_request_is_complete(self) -> bool:
        """Return whether the active request's whole body has arrived; False without an active request."""
        return self._active_cycle is not None and not self._active_cycle.more_body

    def _disconnect_active(self) -> None:
        """Let the application of an unfinished active request see a disconnect."""
        if self._active_cycle is not None and not self._active_cycle.response_complete:
            self._active_cycle.disconnected = True
            self._active_cycle.message_event.set()

    def linger(self) -> None:
        """Close the sending side, and discard what the client sends for ``_LINGER_SECONDS``.

        Closing both at once would reset the connection while the client writes, and the response could be
        lost.
        """
        self._lingering = True
        self._stop_header_timer()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


class _LingeringTransport:
    """Transport of one exchange: ``close`` lingers if the body is not read yet."""

    def __init__(self, protocol: EnvelopeProtocol) -> None:
        self._protocol = protocol
        self._cycle = protocol.cycle

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of the connection's own transport."""
        return getattr(self._protocol.transport, name)

    def write(self, data: bytes) -> None:
        """Write the data; drop it if the connection is closing."""
        if not self._protocol.transport.is_closing():  # asyncio warns about writes to a closing transport
            self._protocol.transport.write(data)

    def close(self) -> None:
        """Close the connection; if a part of the request's body is unread, linger first."""
        if self._cycle.more_body and not self._protocol.transport.is_closing():
            self._protocol.linger()
        else:
            self._protocol.transport.close()
