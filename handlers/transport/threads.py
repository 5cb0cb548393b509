"""Thread pool of one API process, for work that may wait for a database, a counter or a file."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from domain.background import run_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ParamSpec

    P = ParamSpec("P")
T = TypeVar("T")

_inline: ContextVar[bool] = ContextVar("uprez_inline", default=False)
"""True while ``ThreadPool.run`` calls its function directly."""


@contextmanager
def inline() -> Iterator[None]:
    """Make ``ThreadPool.run`` call functions directly within the block."""
    previous = _inline.set(True)
    try:
        yield
    finally:
        _inline.reset(previous)


def _resolve(future: asyncio.Future[Any], resolve: Callable[[], None]) -> None:
    """Call ``resolve`` unless the future is done already."""
    if not future.done():  # the awaiting task may have been cancelled
        resolve()


class ThreadPool:
    """Fixed number of daemon threads.

    A ThreadPoolExecutor would do the same, but spends more on its locks and futures than a statement costs.
    """

    def __init__(self, count: int) -> None:
        """Start ``count`` daemon threads, which live as long as the process."""
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._work, name=f"handler-{number}", daemon=True).start()

    async def run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run the function on a thread, in the caller's context, and return its result; see ``inline``."""
        if _inline.get():
            return function(*arguments, **named)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = copy_context()

        def call() -> None:
            """Call the function and pass its result or its exception to the future.

            Drop it if the loop has ended.
            """
            try:
                resolve = partial(future.set_result, context.run(function, *arguments, **named))
            except BaseException as error:  # noqa: BLE001  # raised where the future is awaited
                resolve = partial(future.set_exception, error)
            with suppress(RuntimeError):  # the loop has ended, and the awaiting task with it
                loop.call_soon_threadsafe(_resolve, future, resolve)

        self._queue.put(call)
        return await future

    def run_in_background(self, work: Callable[[], None]) -> None:
        """Run work that the response does not need, and log its errors.

        On a thread without an event loop it runs at once, and the caller waits for it; on the event loop it
        is queued for a thread of this pool.
        """
        if asyncio._get_running_loop() is None:  # noqa: SLF001  # the public function raises, which is slow
            run_now(work)
        else:
            self._queue.put(partial(run_now, work))

    def _work(self) -> None:
        """Run calls from the queue without end."""
        while True:
            self._queue.get()()
