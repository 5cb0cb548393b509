"""The threads of one API process, on which runs whatever may wait: for a database, a counter, a file."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from handlers.contract import operation_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from handlers.contract import Contract

    P = ParamSpec("P")
T = TypeVar("T")

_on_thread: ContextVar[bool] = ContextVar("uprez_on_thread", default=False)


class Threads:
    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="handler")

    async def run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """In the context of whoever calls; at once where that is on a thread already."""
        if _on_thread.get():
            return function(*arguments, **named)
        call: Callable[[], T] = partial(copy_context().run, function, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


class OneHop:
    """Runs a small request on one thread from its token to its answer: each way to a thread and back costs as
    much as a statement, and under load every one of them waits for the interpreter's lock.

    Small is what has no body to wait for and no file to send. Nothing in between needs the event loop then,
    so that the layers behind this one are run through without it.
    """

    def __init__(self, app: ASGIApp, contract: Contract, threads: Threads) -> None:
        self._app = app
        self._contract = contract
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = operation_id(scope)
        if operation is None or not self._contract.is_small(operation):
            await self._app(scope, receive, send)
            return
        for message in await self._threads.run(_run_through, self._app, scope, receive):
            await send(message)


def _run_through(app: ASGIApp, scope: Scope, receive: Receive) -> list[Message]:
    _on_thread.set(True)
    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    steps = app(scope, receive, keep).__await__()
    try:
        next(steps)
    except StopIteration:
        return sent
    raise RuntimeError("A small request has waited for the event loop.")
