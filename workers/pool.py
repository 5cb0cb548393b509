"""The engines of a worker; each is used by one thread at a time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.engine_child import EngineChild


OTHER_ENGINE_SECONDS = 10.0  # the others may be busy for an hour, and this engine would idle meanwhile


class EnginePool:
    """Engines that threads acquire and release."""

    def __init__(self, engines: Sequence[EngineChild], reserve: EngineChild | None = None) -> None:
        """Fill the pool; ``reserve`` replaces the last of the engines when that one is removed."""
        self._engines = list(engines)
        self._reserve = reserve
        self._idle = list(engines)
        self._last_lost_image: dict[EngineChild, int] = {}
        self._changed = threading.Condition()

    def acquire(self, image_id: int) -> EngineChild:
        """Wait for an idle engine and return it.

        If this image was just lost on some engines, prefer another one for ``OTHER_ENGINE_SECONDS``, as long
        as there are others.
        """
        deadline = time.monotonic() + OTHER_ENGINE_SECONDS
        with self._changed:
            while True:
                remaining = deadline - time.monotonic()
                for engine in self._idle:
                    if remaining <= 0 or self._is_suitable(engine, image_id):
                        self._idle.remove(engine)
                        return engine
                self._changed.wait(remaining if self._idle else None)

    def _is_suitable(self, engine: EngineChild, image_id: int) -> bool:
        """Return whether this engine has not just lost the image, or all engines have."""
        alternatives = [each for each in self._engines if self._last_lost_image.get(each) != image_id]
        return engine in alternatives or not alternatives

    def release(self, engine: EngineChild) -> None:
        """Make the engine available again, unless it was removed from the pool."""
        with self._changed:
            if engine in self._engines:
                self._idle.append(engine)
                self._changed.notify_all()

    def record_lost(self, engine: EngineChild, image_id: int) -> None:
        """Remember that this image was the last one lost on this engine.

        Only the last image of each engine is kept: an image that is lost on all engines must not be excluded
        from all.
        """
        with self._changed:
            self._last_lost_image[engine] = image_id

    def remove(self, engine: EngineChild) -> bool:
        """Remove the engine; return False and change nothing if it is the last one and there is no reserve."""
        with self._changed:
            if self._engines == [engine]:
                if self._reserve is None:
                    return False
                self._engines.append(self._reserve)
                self._idle.append(self._reserve)
                self._reserve = None
            self._engines.remove(engine)
            self._last_lost_image.pop(engine, None)
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """Kill all engine children of the pool."""
        for engine in self._engines:
            engine.close()
