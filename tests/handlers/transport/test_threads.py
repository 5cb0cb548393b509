"""Tests of the thread pool."""

from __future__ import annotations

import asyncio
import threading
from queue import Queue
from typing import TYPE_CHECKING

from handlers.transport.threads import ThreadPool

if TYPE_CHECKING:
    import pytest


def test_background_work_blocks_neither_loop_nor_thread() -> None:
    threads, done = ThreadPool(1), Queue[str]()

    def work() -> None:
        done.put(threading.current_thread().name)

    def run_in_background() -> str:
        threads.run_in_background(work)
        return done.get(timeout=60)

    async def on_the_loop() -> str:
        threads.run_in_background(work)
        return await asyncio.to_thread(done.get, timeout=60)

    assert asyncio.run(on_the_loop()).startswith("handler")
    assert run_in_background() == "MainThread"


def test_failed_background_work_keeps_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    threads = ThreadPool(1)

    async def twice() -> str:
        threads.run_in_background(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
        return await threads.run(lambda: "still here")

    assert asyncio.run(twice()) == "still here"
    assert [record.name for record in caplog.records] == ["domain.background"]
