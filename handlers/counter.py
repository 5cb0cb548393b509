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
    from limits.storage import Storage

_log = logging.getLogger(__name__)
_PREFIX = "fixed"
"""In every key, as the strategies of ``limits`` share a storage and would read each other's numbers."""
_TIMEOUT_SECONDS = 1.0
_REMEMBERED_ENDS = 10_000


class LimitsCounter:
    """Windows are fixed and begin with their first hit.

    The strategy that ``limits`` has for that asks three times: whether there is room, how much, and until when.
    The count alone says the first two, and the end of a window stays what it is.
    """

    def __init__(self, url: str) -> None:
        self._storage = _storage(url)
        self._ends: dict[str, float] = {}

    def hit(self, key: str, limit: int, seconds: int) -> Window | None:
        name = f"{_PREFIX}/{key}"
        try:
            hits = self._storage.incr(name, seconds)
            return self._window(name, limit, hits, seconds, began=hits == 1)
        except StorageError as reason:
            _log_out_of_reach(reason)
            return None

    def look(self, key: str, limit: int, seconds: int) -> Window | None:
        name = f"{_PREFIX}/{key}"
        try:
            hits = self._storage.get(name)
            return self._window(name, limit, hits, seconds, began=hits == 0)
        except StorageError as reason:
            _log_out_of_reach(reason)
            return None

    def hit_here(self, key: str, limit: int, seconds: int) -> Window:
        window = self._here.hit(key, limit, seconds)
        assert window is not None  # memory is never out of reach
        return window

    @cached_property
    def _here(self) -> LimitsCounter:
        return LimitsCounter("memory://")

    def _window(self, name: str, limit: int, hits: int, seconds: int, *, began: bool) -> Window:
        now = time.time()
        end = 0.0 if began else self._ends.get(name, 0.0)
        if end <= now:
            end = self._storage.get_expiry(name)
            if len(self._ends) >= _REMEMBERED_ENDS:
                self._ends.clear()
            self._ends[name] = end
        resets = min(seconds, max(1, math.ceil(end - now)))
        return Window(limit, max(0, limit - hits), resets, exceeded=hits > limit)


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


def _log_out_of_reach(reason: StorageError) -> None:
    _log.warning("Requests are not counted, the counters are out of reach: %s", reason)
