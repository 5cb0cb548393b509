"""The RequestCounter port on the storages of ``limits``: exact across processes and machines on Redis."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from limits import RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.ports import Window

if TYPE_CHECKING:
    from limits.storage import Storage

_log = logging.getLogger(__name__)
_STRATEGY = "fixed"
"""In every key: the strategies of ``limits`` share a storage, and would read each other's numbers."""
_TIMEOUT_SECONDS = 1.0


class LimitsCounter:
    """Windows are fixed and begin with their first hit."""

    def __init__(self, url: str) -> None:
        self._limiter = FixedWindowRateLimiter(_storage(url))

    def hit(self, key: str, limit: int, seconds: int) -> Window | None:
        item = RateLimitItemPerSecond(limit, seconds, namespace=_STRATEGY)
        try:
            admitted = self._limiter.hit(item, key)
        except StorageError as reason:
            _log_out_of_reach(reason)
            return None
        return self._window(item, key, exceeded=not admitted)

    def look(self, key: str, limit: int, seconds: int) -> Window | None:
        return self._window(RateLimitItemPerSecond(limit, seconds, namespace=_STRATEGY), key, exceeded=False)

    def _window(self, item: RateLimitItemPerSecond, key: str, *, exceeded: bool) -> Window | None:
        try:
            stats = self._limiter.get_window_stats(item, key)
        except StorageError as reason:
            _log_out_of_reach(reason)
            return None
        resets = max(1, math.ceil(stats.reset_time - time.time()))
        return Window(item.amount, stats.remaining, resets, exceeded)


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
