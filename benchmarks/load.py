"""A load generator with a fixed number of connections, each with one request at a time.

It always writes the same request and finds the end of each response with httptools, on uvloop. This takes about
20 µs per request; the servers under test need hundreds. The load generator is therefore not the bottleneck.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

import httptools
import uvloop


@dataclass(frozen=True)
class Load:
    """The result of a load test; ``latencies`` are in seconds, in ascending order."""

    seconds: float
    latencies: list[float]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))]


@dataclass
class _Run:
    request: bytes
    latencies: list[float] = field(default_factory=list)
    measuring: bool = False
    ended: bool = False


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self._fail(f"returned status {self._parser.get_status_code()}")
        elif self._run.ended:
            self._transport.close()
        else:
            if self._run.measuring:
                self._run.latencies.append(time.perf_counter() - self._began)
            self._parser = httptools.HttpResponseParser(self)
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._run.ended:
            self._fail(f"closed the connection: {error}")
        elif not self.closed.done():
            self.closed.set_result(None)

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._run.request)

    def _fail(self, event: str) -> None:
        if not self.closed.done():
            self.closed.set_exception(RuntimeError(f"the server {event}"))


def load(
    port: int, path: str, token: str, *, connections: int, seconds: float, warm_up_seconds: float = 1
) -> Load:
    """Send requests for some seconds and return the latencies.

    Raise RuntimeError for a response with another status than 200, or if the server closes a connection.
    """
    return uvloop.run(_load(port, path, token, connections, seconds, warm_up_seconds))


async def _load(
    port: int, path: str, token: str, connections: int, seconds: float, warm_up_seconds: float
) -> Load:
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
    run = _Run(head.encode("ascii"))
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port) for _ in range(connections)
    ]
    all_closed = asyncio.gather(*(protocol.closed for _, protocol in opened))
    await _until_failure(all_closed, warm_up_seconds)
    run.measuring = True
    began = time.perf_counter()
    await _until_failure(all_closed, seconds)
    elapsed = time.perf_counter() - began
    run.measuring, run.ended = False, True
    await all_closed
    return Load(elapsed, sorted(run.latencies))


async def _until_failure(all_closed: asyncio.Future[list[None]], seconds: float) -> None:
    await asyncio.wait([all_closed], timeout=seconds)
    if all_closed.done():
        all_closed.result()
