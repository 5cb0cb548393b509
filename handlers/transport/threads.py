"""The threads of one API process, on which runs whatever may wait: for a database, a counter, a file."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from domain.background import run_now
from handlers.transport.contract import operation_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from handlers.transport.contract import Contract

    P = ParamSpec("P")
T = TypeVar("T")

_SMALL_THREADS = 4
"""Enough to wait for a database elsewhere. Sixteen spend a quarter of their time handing each other the
interpreter's lock.
"""
_LOOKUPS_IN_A_ROUND = 8
"""Of the event loop. Were it all that lie ready, whoever loads a file would get a chunk each time they are through."""

_at_once: ContextVar[bool] = ContextVar("uprez_at_once", default=False)
"""Whether what a layer wants run on a thread is run where it stands: within a small request."""


class Threads:
    """A ThreadPoolExecutor would do, and spend more on its locks and futures than a statement costs."""

    def __init__(self, count: int) -> None:
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._work, name=f"handler-{number}", daemon=True).start()

    async def run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """In the context of whoever calls; at once within a small request."""
        if _at_once.get():
            return function(*arguments, **named)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        context = copy_context()

        def call() -> None:
            try:
                settle = partial(answer.set_result, context.run(function, *arguments, **named))
            except BaseException as error:  # noqa: BLE001  # it is raised where the answer is awaited
                settle = partial(answer.set_exception, error)
            with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
                loop.call_soon_threadsafe(_settle, answer, settle)

        self._waiting.put(call)
        return await answer

    def aside(self, work: Callable[[], None]) -> None:
        """What no answer needs: at once on a thread, on one of ours where the event loop would wait for it."""
        if asyncio._get_running_loop() is None:  # noqa: SLF001  # the public one raises, and that costs
            run_now(work)
        else:
            self._waiting.put(partial(run_now, work))

    def _work(self) -> None:
        while True:
            self._waiting.get()()


def _settle(answer: asyncio.Future[Any], settle: Callable[[], None]) -> None:
    if not answer.done():  # whoever asked may have been cancelled
        settle()


class InlineReads:
    """Runs a small request in one go, from its token to its answer: each way to a thread and back costs as much
    as a statement, and under load every one of them waits for the interpreter's lock.

    Small is what only reads, and has no file to send: nobody's body or lock is waited for. Nothing in between
    needs the event loop then, so that the layers behind this one are run through without it: on one thread; or,
    if it looks one thing up in a database that is a file, on the loop's own. There it waits for the counter alone,
    which is asked no more for a while once it did not answer.
    """

    def __init__(self, app: ASGIApp, contract: Contract, *, reads_at_once: bool) -> None:
        self._app = app
        self._contract = contract
        self._reads_at_once = reads_at_once
        self._threads = Threads(_SMALL_THREADS)
        self._left_in_round = _LOOKUPS_IN_A_ROUND

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = operation_id(scope)
        if operation is None or not self._contract.is_small(operation):
            await self._app(scope, receive, send)
            return
        if self._reads_at_once and self._contract.is_lookup(operation):
            await self._turn()
            messages = _run_through(self._app, scope, receive)
        else:
            messages = await self._threads.run(_run_through, self._app, scope, receive)
        for message in messages:
            await send(message)

    async def _turn(self) -> None:
        """Those that wait come first in the next round, in their order."""
        while self._left_in_round == 0:  # noqa: ASYNC110  # an Event would wake as many
            await asyncio.sleep(0)
        if self._left_in_round == _LOOKUPS_IN_A_ROUND:
            asyncio.get_running_loop().call_soon(self._begin_round)
        self._left_in_round -= 1

    def _begin_round(self) -> None:
        self._left_in_round = _LOOKUPS_IN_A_ROUND


def _run_through(app: ASGIApp, scope: Scope, receive: Receive) -> list[Message]:
    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    outside = _at_once.set(True)
    try:
        next(app(scope, receive, keep).__await__())
    except StopIteration:
        return sent
    finally:
        _at_once.reset(outside)
    raise RuntimeError("A small request has waited for the event loop.")
