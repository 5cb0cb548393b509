"""The RequestCounter port on the storages of the package ``limits``; Redis makes it exact across processes."""

from __future__ import annotations

import logging
import math
import time
from functools import cached_property
from typing import TYPE_CHECKING

from limits.errors import StorageError
from limits.storage import storage_from_string
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.ports import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from limits.storage import Storage

_log = logging.getLogger(__name__)
_PREFIX = "fixed"
"""Prefix of every key: strategies of ``limits`` share a storage and would otherwise read each other's counts."""
_TIMEOUT_SECONDS = 1.0
_MAX_CACHED_ENDS = 10_000
_PAUSE_SECONDS = 5.0
"""Pause after a failure of the storage: without it, each request would wait for the timeout and then be accepted."""


class LimitsCounter:
    """Fixed windows, each of which begins with its first hit; a failure pauses ``hit`` and ``peek``.

    The strategy of ``limits`` for fixed windows needs three commands: is the limit reached, how many requests
    remain, and when the window ends. Here the count gives the first two, and the end of a window is cached.
    """

    def __init__(self, url: str) -> None:
        self._storage = _storage(url)
        self._ends: dict[str, float] = {}
        self._paused_until = 0.0

    def hit(self, key: str, limit: int, seconds: int) -> Window | None:
        """Count one request in the window of ``key``, also above the limit, and return the window.

        Return None when the storage is unavailable, and for 5 s after that.
        """
        return self._window(key, limit, seconds, lambda name: self._storage.incr(name, seconds), first=1)

    def peek(self, key: str, limit: int, seconds: int) -> Window | None:
        """Read the window of ``key`` without counting. Return None when the storage is unavailable."""
        return self._window(key, limit, seconds, self._storage.get, first=0)

    def hit_locally(self, key: str, limit: int, seconds: int) -> Window:
        """Count one request in the memory of this process, apart from the counts of ``hit``."""
        window = self._local.hit(key, limit, seconds)
        assert window is not None  # memory is always available
        return window

    @cached_property
    def _local(self) -> LimitsCounter:
        """Return the counter of this process, used while the shared one does not respond."""
        return LimitsCounter("memory://")

    def _window(
        self, key: str, limit: int, seconds: int, count: Callable[[str], int], *, first: int
    ) -> Window | None:
        """Call ``count``, which returns the hits (``first`` for a new window), and return the window.

        The rest of the window is 1 to ``seconds`` seconds. When the storage fails, log a warning and return
        None; also return None, without calling ``count``, in the pause after a failure.
        """
        if time.monotonic() < self._paused_until:
            return None
        name = f"{_PREFIX}/{key}"
        try:
            hits = count(name)
            end = self._end(name, began=hits == first)
        except StorageError as error:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            _log.warning("request_counters_unavailable reason=%s", error)
            return None
        resets = min(seconds, max(1, math.ceil(end - time.time())))
        return Window(limit, max(0, limit - hits), resets, exceeded=hits > limit)

    def _end(self, name: str, *, began: bool) -> float:
        """Return the end of the window in seconds since the epoch, cached unless unknown or past.

        ``began`` means that the window is new, so that a cached end is out of date. An end that is read from
        the storage is cached; a full cache is emptied first. Raise StorageError when the storage fails.
        """
        end = 0.0 if began else self._ends.get(name, 0.0)
        if end <= time.time():
            end = self._storage.get_expiry(name)
            if len(self._ends) >= _MAX_CACHED_ENDS:
                self._ends.clear()
            self._ends[name] = end
        return end


def _storage(url: str) -> Storage:
    """Return a storage of ``limits`` that reports every failure as StorageError.

    Redis and Valkey get a short timeout and one immediate retry.
    """
    options = {}
    if "redis" in url or "valkey" in url:
        options = {
            "socket_connect_timeout": _TIMEOUT_SECONDS,
            "socket_timeout": _TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 1),
        }
    storage: Storage = storage_from_string(url, wrap_exceptions=True, **options)  # type: ignore[arg-type, assignment]
    return storage
