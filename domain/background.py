"""Work that no answer waits for: finding out whom to write to, and sending the mail."""

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
_AFTER_SECONDS = 0.25
"""By then the answer has left, also on a loaded machine: a handler without work takes milliseconds."""
_MOST_WAITING = 1000


def run_now(work: Callable[[], None]) -> None:
    """For commands and workers, where nobody's waiting tells anything. What fails is logged, never raised."""
    try:
        work()
    except Unavailable as reason:
        _log.error("What was left for later could not be done: %r", reason)  # an outage, no crash
    except Exception:  # noqa: BLE001  # nobody is there to hear of it
        _log.exception("What was left for later failed.")


class BackgroundTasks:
    """Does the work on threads of its own, a moment after it was handed over.

    How long an answer takes must not tell whether an address has an account. So a request does the same for
    every address and hands the rest over. The moment matters: looking up, signing and writing a mail on another
    thread would slow the very request down that is being answered, by milliseconds that can be measured.

    What waits when the service stops is done before ``close`` returns, if it is given the time. What is cut off,
    or killed, is asked for again by whoever misses it.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="background")
        self._waiting: set[object] = set()  # a ticket for each, until it is done
        self._changed = Condition()

    def __call__(self, work: Callable[[], None]) -> None:
        ticket = object()
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                _log.error("A mail is not sent: %d wait already.", _MOST_WAITING)
                return
            self._waiting.add(ticket)
        try:
            self._pool.submit(self._run, ticket, work, time.monotonic() + _AFTER_SECONDS)
        except RuntimeError as reason:  # closed, or no thread can be started
            self._forget(ticket)
            _log.error("A mail is not sent: %s", reason)

    def close(self, seconds: float) -> None:
        """Waits so long for what is left to do, and gives the rest up with a log line; nothing is taken any more."""
        self._pool.shutdown(wait=False)
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, seconds)
            left = len(self._waiting)
            self._waiting.clear()
        if left:
            _log.error("Mails not sent, because the service stops: %d", left)

    def _run(self, ticket: object, work: Callable[[], None], due: float) -> None:
        time.sleep(max(0.0, due - time.monotonic()))
        if ticket not in self._waiting:
            return  # given up, and said so
        try:
            run_now(work)
        finally:
            self._forget(ticket)

    def _forget(self, ticket: object) -> None:
        with self._changed:
            self._waiting.discard(ticket)
            self._changed.notify_all()
