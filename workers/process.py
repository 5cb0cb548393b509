"""The worker process: Dramatiq's threads around the engines, until a stop signal.

``uprez/wiring.py`` starts the engines with ``workers/engines.py`` and passes them.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from dramatiq.worker import Worker

from workers.actors import declare_actors
from workers.engine_child import CANCEL_SECONDS, KEEP_GOING_SECONDS
from workers.reconciler import Reconciler
from workers.upscaling import Upscaling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dramatiq import Broker

    from domain.services import Services
    from workers.engine_child import EngineChild

_log = logging.getLogger(__name__)
_RELEASE_SECONDS = KEEP_GOING_SECONDS + CANCEL_SECONDS + 1.0
"""The time until the job's next ``keep_going``, until the engine has stopped or is killed, and a margin."""


def run_worker(
    services: Services,
    broker: Broker,
    engines: Sequence[EngineChild],
    work_folder: Path,
    stop: threading.Event,
    grace_seconds: float,
    reserve: EngineChild | None = None,
) -> None:
    """Process messages until ``stop`` is set, then finish the current images or release them.

    They are released when ``grace_seconds`` are nearly over. Raise EngineUnusable, after a regular stop, when
    the last engine was lost for good.
    """
    upscaling = Upscaling(services, engines, work_folder, stop.set, reserve)
    declare_actors(broker, upscaling.upscale)
    worker = Worker(broker, worker_threads=len(engines), worker_timeout=200)
    # One message for each thread: an idle worker elsewhere could process what waits here.
    worker.queue_prefetch = len(engines)
    reconciler = Reconciler(services)
    worker.start()
    reconciler.start()
    _log.info("worker_started engines=%d", len(engines))
    stop.wait()
    _log.info("worker_stopping grace_seconds=%g", grace_seconds)
    release_timer = threading.Timer(max(0.0, grace_seconds - _RELEASE_SECONDS), upscaling.stop)
    release_timer.start()
    worker.stop(timeout=int(grace_seconds * 1000))
    release_timer.cancel()
    reconciler.stop()
    upscaling.stop()
    upscaling.close()
    broker.close()
    if upscaling.fatal_error is not None:
        raise upscaling.fatal_error
