"""Single images after a batch, with a real queue, real rows and a running worker."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from domain import batches, images
from domain.formats import ImageFormat
from domain.records import Account
from domain.services import Services
from domain.sizing import Size
from domain.uploads import Upload, UpscaleOptions
from workers.broker import BrokerQueue, make_broker
from workers.engine.protocol import EngineResult
from workers.engine_child import EngineJob
from workers.process import run_worker

TIMEOUT_SECONDS = 60


class Gate:
    """The images that gated engines have started, in order; each engine ends its job when permitted."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[str] = SimpleQueue()
        self.permits = threading.Semaphore(0)

    def next(self) -> str:
        return self.begun.get(timeout=TIMEOUT_SECONDS)


class GatedEngine:
    """An engine that reports the content of a file and copies it when permitted."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def upscale(self, job: EngineJob, *_: object, **__: object) -> EngineResult:
        self._gate.begun.put(job.source.read_text().splitlines()[1])
        assert self._gate.permits.acquire(timeout=TIMEOUT_SECONDS)
        job.target.write_bytes(job.source.read_bytes())
        return EngineResult(Size(8, 6), Size(16, 12), ImageFormat.PNG, "gated", "cpu", 0.0)

    def close(self) -> None:
        pass


def upload(label: str) -> Upload:
    content = f"IMAGE png 8 6\n{label}".encode()
    return Upload("photo.png", io.BytesIO(content), len(content))


@pytest.fixture
def queued_services(make_services: Callable[..., Services], valkey: str) -> Iterator[Services]:
    broker = make_broker(valkey)
    broker.flush_all()
    yield make_services(queue=BrokerQueue(broker))
    broker.close()


@pytest.fixture
def start_worker(
    queued_services: Services, valkey: str, tmp_path: Path
) -> Iterator[Callable[[Gate, int], None]]:
    """Return a function that starts a worker with this number of engines behind a gate."""
    stop = threading.Event()
    gates: list[Gate] = []
    workers: list[threading.Thread] = []

    def start(gate: Gate, engines: int) -> None:
        gates.append(gate)
        arguments: Any = (
            queued_services,
            make_broker(valkey),
            [GatedEngine(gate) for _ in range(engines)],
            tmp_path / "work",
            stop,
            8,
        )
        workers.append(threading.Thread(target=run_worker, args=arguments))
        workers[-1].start()

    yield start
    stop.set()
    for gate in gates:
        gate.permits.release(100)
    for worker in workers:
        worker.join()


# A single image waits only for the batch images that are in progress already. It does not depend on the
# polling interval of the queue or on the prefetched messages.
@pytest.mark.parametrize("engines", [1, 2])
def test_single_images_precede_waiting_batch_images(
    queued_services: Services,
    make_account: Callable[..., Account],
    start_worker: Callable[[Gate, int], None],
    engines: int,
) -> None:
    account, gate = make_account("professional"), Gate()
    batches.submit(
        queued_services, account, [upload(f"batch {number}") for number in range(20)], UpscaleOptions()
    )
    start_worker(gate, engines)
    at_work = [gate.next() for _ in range(engines)]
    for number in range(3):
        images.submit(queued_services, account, upload(f"single {number}"), UpscaleOptions())

    gate.permits.release(23)
    after = [gate.next() for _ in range(23 - engines)]

    assert all(label.startswith("batch") for label in at_work)
    # With several engines, the image that was claimed last may be reported first.
    assert set(after[: 2 + engines]) >= {"single 0", "single 1", "single 2"}
    # Every image was processed exactly once.
    assert len(set(at_work + after)) == 23


# A single image waits at any time; if all of them went first, the batch would never be processed.
def test_endless_single_images_do_not_block_a_batch(
    queued_services: Services,
    make_account: Callable[..., Account],
    start_worker: Callable[[Gate, int], None],
) -> None:
    account, gate = make_account("professional"), Gate()
    singles = (upload(f"single {number}") for number in itertools.count())
    batches.submit(
        queued_services, account, [upload(f"batch {number}") for number in range(3)], UpscaleOptions()
    )
    images.submit(queued_services, account, next(singles), UpscaleOptions())
    start_worker(gate, 1)

    begun = []
    for _ in range(6):
        begun.append(gate.next())
        if begun[-1].startswith("single"):
            images.submit(queued_services, account, next(singles), UpscaleOptions())
        gate.permits.release()

    assert begun == ["single 0", "batch 0", "single 1", "batch 1", "single 2", "batch 2"]


def test_batch_images_are_processed_in_upload_order(
    queued_services: Services,
    make_account: Callable[..., Account],
    start_worker: Callable[[Gate, int], None],
) -> None:
    gate = Gate()
    labels = [f"batch {number}" for number in range(5)]
    batches.submit(
        queued_services, make_account("professional"), [upload(label) for label in labels], UpscaleOptions()
    )
    gate.permits.release(5)

    start_worker(gate, 1)

    assert [gate.next() for _ in range(5)] == labels
