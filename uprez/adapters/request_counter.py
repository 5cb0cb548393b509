"""The RequestCounter port on the storages of ``limits``: exact across processes and machines on Redis."""

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
"""In every key, as the strategies of ``limits`` share a storage and would read each other's numbers."""
_TIMEOUT_SECONDS = 1.0
_REMEMBERED_ENDS = 10_000
_QUIET_SECONDS = 5.0
"""So long counters that did not answer are not asked again: each request would wait for them, and pass all the same."""


class LimitsCounter:
    """Windows are fixed and begin with their first hit.

    The strategy that ``limits`` has for that asks three times: whether there is room, how much, and until when.
    The count alone says the first two, and the end of a window stays what it is.
    """

    def __init__(self, url: str) -> None:
        self._storage = _storage(url)
        self._ends: dict[str, float] = {}
        self._quiet_until = 0.0

    def hit(self, key: str, limit: int, seconds: int) -> Window | None:
        return self._window(key, limit, seconds, lambda name: self._storage.incr(name, seconds), first=1)

    def look(self, key: str, limit: int, seconds: int) -> Window | None:
        return self._window(key, limit, seconds, self._storage.get, first=0)

    def hit_locally(self, key: str, limit: int, seconds: int) -> Window:
        window = self._here.hit(key, limit, seconds)
        assert window is not None  # memory is never out of reach
        return window

    @cached_property
    def _here(self) -> LimitsCounter:
        return LimitsCounter("memory://")

    def _window(
        self, key: str, limit: int, seconds: int, count: Callable[[str], int], *, first: int
    ) -> Window | None:
        """``first`` is what ``count`` says of a window that has only begun."""
        if time.monotonic() < self._quiet_until:
            return None
        name = f"{_PREFIX}/{key}"
        try:
            hits = count(name)
            end = self._end(name, began=hits == first)
        except StorageError as reason:
            self._quiet_until = time.monotonic() + _QUIET_SECONDS
            _log.warning("Requests are not counted, the counters are out of reach: %s", reason)
            return None
        resets = min(seconds, max(1, math.ceil(end - time.time())))
        return Window(limit, max(0, limit - hits), resets, exceeded=hits > limit)

    def _end(self, name: str, *, began: bool) -> float:
        end = 0.0 if began else self._ends.get(name, 0.0)
        if end <= time.time():
            end = self._storage.get_expiry(name)
            if len(self._ends) >= _REMEMBERED_ENDS:
                self._ends.clear()
            self._ends[name] = end
        return end


def _storage(url: str) -> Storage:
    options = {}
    if "redis" in url or "valkey" in url:
        options = {
            "socket_connect_timeout": _TIMEOUT_SECONDS,
            "socket_timeout": _TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 1),
        }
    storage: Storage = storage_from_string(url, wrap_exceptions=True, **options)  # type: ignore[arg-type, assignment]
    return storage
