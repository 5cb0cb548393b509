"""Requeue images whose message or worker was lost; because of this no outbox is needed."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from domain import jobs
from domain.errors import Unavailable

if TYPE_CHECKING:
    from domain.services import Services

_log = logging.getLogger(__name__)
_INTERVAL_SECONDS = 1.0


class Reconciler:
    """A thread that requeues stale images every second."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for its end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        """Requeue stale images every ``_INTERVAL_SECONDS`` until ``stop``; log every error and go on."""
        while not self._stop.wait(_INTERVAL_SECONDS):
            try:
                requeued = jobs.requeue_stale_images(self._services)
            except Unavailable:
                _log.warning("requeue_failed reason=database_unavailable")
            except Exception:  # noqa: BLE001  # without this thread, lost messages stay lost
                _log.exception("requeue_failed")
            else:
                if requeued:
                    _log.info("images_requeued count=%d", requeued)
