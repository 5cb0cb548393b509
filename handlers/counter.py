"""The RequestCounter port on the Redis storage of ``limits``: exact across processes and machines."""

from __future__ import annotations

import logging
import math
import threading
from typing import Any, cast

from limits.storage import RedisStorage, storage_from_string
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from domain.ports import Window

_log = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 1.0
_HIT = b"""
local hits = redis.call("incr", KEYS[1])
if hits == 1 then
    redis.call("expire", KEYS[1], ARGV[1])
end
return {hits, redis.call("pttl", KEYS[1])}
"""
"""The fixed window of ``limits`` in one round trip instead of three: it counts, reads, and asks for the end."""
_LOOK = b"""
return {tonumber(redis.call("get", KEYS[1]) or 0), redis.call("pttl", KEYS[1])}
"""


class LimitsCounter:
    """Windows are fixed and begin with their first hit."""

    def __init__(self, url: str) -> None:
        options = {"socket_connect_timeout": _TIMEOUT_SECONDS, "socket_timeout": _TIMEOUT_SECONDS}
        retry = Retry(NoBackoff(), 0)
        self._storage = cast("RedisStorage", storage_from_string(url, **options, retry=retry))  # type: ignore[arg-type]
        self._of_thread = threading.local()

    def hit(self, key: str, limit: int, seconds: int) -> Window | None:
        return self._window(_HIT, key, limit, seconds)

    def look(self, key: str, limit: int, seconds: int) -> Window | None:
        return self._window(_LOOK, key, limit, seconds)

    def _window(self, script: bytes, key: str, limit: int, seconds: int) -> Window | None:
        try:
            hits, milliseconds = self._ask("EVAL", script, 1, self._storage.prefixed_key(key), seconds)
        except RedisError as reason:
            _log.warning("Requests are not counted, the counters are out of reach: %s", reason)
            return None
        resets = (
            math.ceil(milliseconds / 1000) if milliseconds > 0 else seconds
        )  # nothing counted, no window yet
        return Window(limit, max(0, limit - hits), max(1, resets), exceeded=hits > limit)

    def _ask(self, *command: bytes | str | int) -> Any:
        """On a connection of this thread's own: to share a few costs more than the question."""
        connection = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._storage.get_connection().connection_pool.make_connection()  # type: ignore[attr-defined]
            self._of_thread.connection = connection
        try:
            connection.send_command(*command)
            return connection.read_response()
        except RedisConnectionError:  # has ended since it was last used, perhaps
            connection.send_command(*command)
            return connection.read_response()
