"""How a request goes through its threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from handlers.contract import load_contract
from handlers.threads import OneHop, Threads, _on_thread


class SomethingToCome:
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


def answers(operation: str, app: Any) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append((message, threading.current_thread().name))

    async def receive() -> Any:
        raise AssertionError("nobody asks for a body")

    threads = Threads(1)
    asyncio.run(OneHop(app(threads), load_contract())(scope_of(operation), receive, send))
    return sent


def naming(threads: Threads) -> Any:
    """Says on which threads it was, itself and what it had run for it."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        here = threading.current_thread().name
        there = await threads.run(lambda: threading.current_thread().name)
        await send((here, there))

    return app


def test_a_small_request_is_on_one_thread_from_beginning_to_end_and_answered_from_the_loop() -> None:
    (((here, there), answered),) = answers("get_image", naming)

    assert here == there
    assert here.startswith("handler")
    assert answered == "MainThread"


@pytest.mark.parametrize("operation", ["upscale_image", "get_file"])
def test_whatever_has_a_body_or_a_file_stays_with_the_loop(operation: str) -> None:
    (((here, there), _),) = answers(operation, naming)

    assert here == "MainThread"
    assert there.startswith("handler")


def test_an_error_comes_out_as_it_went_in() -> None:
    def failing(_threads: Threads) -> Any:
        async def app(*_: Any) -> None:
            raise LookupError("as it was")

        return app

    with pytest.raises(LookupError, match="as it was"):
        answers("get_image", failing)


def test_a_layer_that_waits_for_the_loop_after_all_is_found_out() -> None:
    def waiting(_threads: Threads) -> Any:
        async def app(*_: Any) -> None:
            await SomethingToCome()

        return app

    with pytest.raises(RuntimeError, match="waited for the event loop"):
        answers("get_image", waiting)


def test_nothing_of_it_is_left_for_the_next_request() -> None:
    answers("get_image", naming)

    assert _on_thread.get() is False
