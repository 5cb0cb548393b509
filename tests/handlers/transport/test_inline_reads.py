"""Tests of inline reads."""

from __future__ import annotations

import asyncio
import threading
from itertools import groupby
from typing import Any

import pytest

from handlers.transport.contract import load_contract
from handlers.transport.inline_reads import InlineReads
from handlers.transport.threads import ThreadPool, _inline


class NeverReady:
    def __await__(self) -> Any:
        yield self


def scope_of(operation: str) -> dict[str, Any]:
    (operation_id,) = (
        found["operationId"]
        for methods in load_contract().document["paths"].values()
        for found in methods.values()
        if isinstance(found, dict) and found.get("operationId", "").endswith(operation)
    )
    return {"type": "http", "extensions": {"connexion_routing": {"operation_id": operation_id}}}


def run_request(operation: str, app: Any, *, lookups_on_loop: bool = False) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append((message, threading.current_thread().name))

    async def receive() -> Any:
        raise AssertionError("The body must not be read.")

    threads = ThreadPool(1)
    small = InlineReads(app(threads), load_contract(), lookups_on_loop=lookups_on_loop)
    asyncio.run(small(scope_of(operation), receive, send))
    return sent


def thread_names(threads: ThreadPool) -> Any:
    """Return an application that sends the names of its own thread and of the pool's."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        here = threading.current_thread().name
        there = await threads.run(lambda: threading.current_thread().name)
        await send((here, there))

    return app


@pytest.mark.parametrize(("operation", "lookups_on_loop"), [("get_image", False), ("list_images", True)])
def test_small_read_runs_on_one_thread(operation: str, lookups_on_loop: bool) -> None:
    (((here, there), sending_thread),) = run_request(operation, thread_names, lookups_on_loop=lookups_on_loop)

    assert here == there
    assert here.startswith("handler")
    assert sending_thread == "MainThread"


@pytest.mark.parametrize("operation", ["get_image", "download_image", "get_batch"])
def test_lookup_runs_on_the_loop_with_a_file_database(operation: str) -> None:
    assert run_request(operation, thread_names, lookups_on_loop=True) == [
        (("MainThread", "MainThread"), "MainThread")
    ]


@pytest.mark.parametrize("lookups_on_loop", [False, True])
@pytest.mark.parametrize("operation", ["upscale_image", "get_file"])
def test_other_operations_stay_on_the_loop(operation: str, lookups_on_loop: bool) -> None:
    (((here, there), _),) = run_request(operation, thread_names, lookups_on_loop=lookups_on_loop)

    assert here == "MainThread"
    assert there.startswith("handler")


@pytest.mark.parametrize("lookups_on_loop", [False, True])
def test_exception_is_raised_unchanged(lookups_on_loop: bool) -> None:
    def failing(_threads: ThreadPool) -> Any:
        async def app(*_: Any) -> None:
            raise LookupError("as it was")

        return app

    with pytest.raises(LookupError, match="as it was"):
        run_request("get_image", failing, lookups_on_loop=lookups_on_loop)


@pytest.mark.parametrize("lookups_on_loop", [False, True])
def test_waiting_for_the_loop_raises_runtime_error(lookups_on_loop: bool) -> None:
    def waiting(_threads: ThreadPool) -> Any:
        async def app(*_: Any) -> None:
            await NeverReady()

        return app

    with pytest.raises(RuntimeError, match="waited for the event loop"):
        run_request("get_image", waiting, lookups_on_loop=lookups_on_loop)


@pytest.mark.parametrize("lookups_on_loop", [False, True])
def test_inline_mode_ends_with_the_request(lookups_on_loop: bool) -> None:
    async def afterwards() -> bool:
        async def app(*_: Any) -> None:
            pass

        small = InlineReads(app, load_contract(), lookups_on_loop=lookups_on_loop)
        await small(scope_of("get_image"), app, app)
        return _inline.get()

    assert asyncio.run(afterwards()) is False


def test_lookups_keep_their_order_and_let_the_loop_run() -> None:
    order: list[int | str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        order.append(scope["number"])

    async def others() -> None:
        while True:
            order.append("another")
            await asyncio.sleep(0)

    async def run_lookups() -> None:
        small = InlineReads(app, load_contract(), lookups_on_loop=True)
        clock = asyncio.create_task(others())
        await asyncio.gather(
            *(small({**scope_of("get_image"), "number": number}, app, app) for number in range(50))
        )
        clock.cancel()

    asyncio.run(run_lookups())

    assert [number for number in order if number != "another"] == list(range(50))
    in_between = [
        len(list(group)) for other, group in groupby(order, lambda each: each == "another") if not other
    ]
    assert max(in_between) < 50 / 2
