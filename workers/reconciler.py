"""Wakes images whose message was lost, or whose worker was: the reason why no outbox is needed."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from domain import jobs
from domain.errors import Unavailable

if TYPE_CHECKING:
    from domain.services import Services

_log = logging.getLogger(__name__)
_EVERY_SECONDS = 1.0


class Reconciler:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            try:
                woken = jobs.requeue_stale_images(self._services)
            except Unavailable:
                _log.warning("The database does not answer; waiting images are looked for again.")
            except Exception:  # noqa: BLE001  # whatever it was: without this thread lost messages stay lost
                _log.exception("Looking for waiting images failed; they are looked for again.")
            else:
                if woken:
                    _log.info("Woke %d waiting image(s).", woken)
