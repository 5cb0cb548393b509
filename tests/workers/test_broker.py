"""The broker URL, and uploads that do not suffer from a broken broker."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from dramatiq.worker import Worker

from workers.actors import declare_actors
from workers.broker import BrokerError, BrokerQueue, make_broker


def test_notified_image_reaches_a_worker(valkey: str) -> None:
    received: list[int] = []
    arrived = threading.Event()

    def upscale(image_id: int) -> None:
        received.append(image_id)
        arrived.set()

    broker = make_broker(valkey)
    declare_actors(broker, upscale)
    worker = Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    try:
        api_side = make_broker(valkey)
        assert BrokerQueue(api_side).notify(42) is True
        assert arrived.wait(60)
    finally:
        worker.stop()
        broker.close()
        api_side.close()
    assert received == [42]


# The row is committed at that point, and the client waits for its 202.
def test_unreachable_broker_returns_false(tmp_path: Path) -> None:
    begun = time.monotonic()

    assert BrokerQueue(make_broker(f"unix://{tmp_path / 'missing.sock'}")).notify(1) is False
    assert time.monotonic() - begun < 10


# One image waits for the time-out, not every image of a batch.
def test_hanging_broker_is_paused(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen(100)  # connections succeed, but no response follows
        queue = BrokerQueue(make_broker(f"unix://{path}"))
        began = time.monotonic()
        assert queue.notify(1) is False
        waited = time.monotonic() - began

        began = time.monotonic()
        assert [queue.notify(number) for number in range(2, 21)] == [False] * 19
        assert time.monotonic() - began < waited


@pytest.mark.parametrize("url", ["", "http://localhost", "kafka://localhost", "localhost:6379"])
def test_unknown_broker_url_error_lists_schemes(url: str) -> None:
    with pytest.raises(BrokerError, match="redis://"):
        make_broker(url)


def test_rabbitmq_confirms_delivery() -> None:
    broker = make_broker("amqp://guest:guest@127.0.0.1:1")

    assert broker.confirm_delivery is True
    assert BrokerQueue(broker).notify(1) is False
