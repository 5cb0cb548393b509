"""Background tasks: work that runs after the response, such as finding an account and sending it a mail."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import TYPE_CHECKING

from domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
_THREADS = 4
_DELAY_SECONDS = 0.25
"""Long enough for the response to be sent, also on a loaded machine: a handler without work takes milliseconds."""
_MAX_WAITING = 1000


def run_now(task: Callable[[], None]) -> None:
    """Run the task on this thread and log its errors instead of raising them.

    Commands and workers use it: their duration reveals nothing to a client.
    """
    try:
        task()
    except Unavailable as reason:
        _log.error("background_task_failed reason=%r", reason)  # an outage needs no traceback
    except Exception:  # noqa: BLE001  # there is no caller that could handle it
        _log.exception("background_task_failed")


class BackgroundTasks:
    """A BackgroundRunner that runs tasks on its own threads, shortly after they are submitted.

    The duration of a request must not reveal whether an address has an account. A request therefore does the
    same work for every address and submits the rest. The delay is needed because finding the account, signing
    and writing a mail on another thread would slow down the request itself by milliseconds that a client can
    measure.

    ``close`` waits for the submitted tasks. A task that is lost is not repeated: the user requests the mail
    again.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="background")
        self._waiting: set[object] = set()  # one ticket for each unfinished task
        self._changed = Condition()

    def __call__(self, task: Callable[[], None]) -> None:
        """Submit the task, or drop it with a log line if too many are waiting or ``close`` was called."""
        ticket = object()
        with self._changed:
            if len(self._waiting) >= _MAX_WAITING:
                _log.error("background_task_dropped reason=too_many_waiting waiting=%d", _MAX_WAITING)
                return
            self._waiting.add(ticket)
        try:
            self._pool.submit(self._run, ticket, task, time.monotonic() + _DELAY_SECONDS)
        except RuntimeError as reason:  # the pool is closed, or no thread can be started
            self._forget(ticket)
            _log.error("background_task_dropped reason=%r", str(reason))

    def close(self, timeout_seconds: float) -> None:
        """Wait for the submitted tasks up to the timeout, then drop the rest with a log line.

        Tasks submitted after this call are dropped. A task that runs at the timeout is counted as dropped,
        but continues.
        """
        self._pool.shutdown(wait=False)
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, timeout_seconds)
            dropped = len(self._waiting)
            self._waiting.clear()
        if dropped:
            _log.error("background_tasks_dropped reason=shutdown count=%d", dropped)

    def _run(self, ticket: object, task: Callable[[], None], due: float) -> None:
        """Run the task at ``due``, in seconds of the monotonic clock, unless ``close`` has dropped it."""
        time.sleep(max(0.0, due - time.monotonic()))
        if ticket not in self._waiting:
            return  # ``close`` has dropped and logged it
        try:
            run_now(task)
        finally:
            self._forget(ticket)

    def _forget(self, ticket: object) -> None:
        """Remove a task that has ended, and wake those that wait for it."""
        with self._changed:
            self._waiting.discard(ticket)
            self._changed.notify_all()
