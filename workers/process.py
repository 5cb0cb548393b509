"""The worker process: Dramatiq's threads around the engines, until a signal says stop."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from dramatiq.worker import Worker

from workers.actors import declare_actors
from workers.engine_child import BEAT_SECONDS, CANCEL_SECONDS
from workers.reconciler import Reconciler
from workers.upscaling import Upscaling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dramatiq import Broker

    from domain.services import Services
    from workers.engine_child import EngineChild

_log = logging.getLogger(__name__)
_RELEASE_SECONDS = BEAT_SECONDS + CANCEL_SECONDS + 1.0
"""Until the worker next looks up from its job, until the engine has stopped or is killed, and a little more."""


def run_worker(
    services: Services,
    broker: Broker,
    engines: Sequence[EngineChild],
    work_folder: Path,
    stop: threading.Event,
    grace_seconds: float,
    reserve: EngineChild | None = None,
) -> None:
    """Works until ``stop`` is set; then finishes what is in hand, or hands it back after the grace.

    Raises EngineUnusable, after having stopped in order, when an engine was lost for good.
    """
    upscaling = Upscaling(services, engines, work_folder, stop.set, reserve)
    declare_actors(broker, upscaling.upscale)
    worker = Worker(broker, worker_threads=len(engines), worker_timeout=200)
    # One message per thread: what waits here could be done by an idle worker elsewhere.
    worker.queue_prefetch = len(engines)
    reconciler = Reconciler(services)
    worker.start()
    reconciler.start()
    _log.info("The worker is ready with %d engine(s).", len(engines))
    stop.wait()
    _log.info("The worker stops.")
    release_timer = threading.Timer(max(0.0, grace_seconds - _RELEASE_SECONDS), upscaling.stop)
    release_timer.start()
    worker.stop(timeout=int(grace_seconds * 1000))
    release_timer.cancel()
    reconciler.stop()
    upscaling.stop()
    upscaling.close()
    broker.close()
    if upscaling.broken_by is not None:
        raise upscaling.broken_by
