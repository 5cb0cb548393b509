"""The queue: which brokers there are, and that a broken one costs an upload nothing."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from dramatiq.worker import Worker

from workers.actors import declare_actors
from workers.broker import BrokerError, BrokerQueue, make_broker


def test_a_woken_image_reaches_a_worker(valkey: str) -> None:
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
        assert arrived.wait(10)
    finally:
        worker.stop()
        broker.close()
        api_side.close()
    assert received == [42]


# The row is committed by then, and the client waits for its 202.
def test_a_broker_that_is_down_is_a_wake_up_less_and_no_error(tmp_path: Path) -> None:
    begun = time.monotonic()

    assert BrokerQueue(make_broker(f"unix://{tmp_path / 'nobody.sock'}")).notify(1) is False
    assert time.monotonic() - begun < 5


# Its silence is waited for once, and not by each image of a batch.
def test_a_broker_that_hangs_is_not_asked_again_at_once(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen(100)  # connections are made, and nothing is ever said
        queue = BrokerQueue(make_broker(f"unix://{path}"))
        began = time.monotonic()
        assert queue.notify(1) is False
        waited = time.monotonic() - began

        began = time.monotonic()
        assert [queue.notify(number) for number in range(2, 21)] == [False] * 19
        assert time.monotonic() - began < waited


@pytest.mark.parametrize("url", ["", "http://localhost", "kafka://localhost", "localhost:6379"])
def test_a_url_of_no_broker_is_refused_with_those_that_there_are(url: str) -> None:
    with pytest.raises(BrokerError, match="redis://"):
        make_broker(url)


def test_rabbitmq_confirms_what_it_took() -> None:
    broker = make_broker("amqp://guest:guest@127.0.0.1:1")

    assert broker.confirm_delivery is True
    assert BrokerQueue(broker).notify(1) is False
