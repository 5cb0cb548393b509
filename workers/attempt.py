"""One attempt at an image: fetch the original, run the engine, store the result."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from domain import jobs
from domain.errors import Unavailable
from domain.records import Result
from workers.engine.protocol import EngineJob
from workers.engine_child import KEEP_GOING_SECONDS

if TYPE_CHECKING:
    from threading import Event

    from domain.records import Image
    from domain.services import Services
    from workers.engine_child import EngineChild


class _Progress:
    percent = 0

    def update(self, done: int, total: int) -> None:
        """Store the progress in whole percent, at most 99: only a finished row has 100."""
        self.percent = min(99, 100 * done // total)


def run_attempt(
    services: Services, engine: EngineChild, image: Image, work_folder: Path, stopping: Event
) -> Result:
    """Upscale a claimed image and store the result's file under a new key; the row is not changed.

    While the engine works, renew the lease and store the progress in the row. Raise EngineCancelled if
    ``stopping`` is set or the claim is lost, all other errors of ``EngineChild.upscale``, NotFound without an
    original, Unavailable if the store fails and OSError if the disk does. The temporary files in
    ``work_folder`` are deleted in every case; an error of the deletion is ignored.
    """
    extension, policy = image.image_format.extension, services.policy
    # A model choice that is no longer offered becomes auto: the owner still gets a result.
    model = None if image.model_choice is None else policy.model_choices.get(image.model_choice)
    work_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work_folder, ignore_cleanup_errors=True) as folder:
        source = Path(folder) / f"original{extension}"
        target = Path(folder) / f"result{extension}"
        with services.store.open(image.original_key) as stored, source.open("wb") as file:
            shutil.copyfileobj(stored, file)
        progress = _Progress()
        upscaled = engine.upscale(
            EngineJob(source, target, image.sizing, policy.result_caps, model),
            on_progress=progress.update,
            keep_going=lambda: not stopping.is_set() and _renew_lease(services, image, progress),
            keep_going_seconds=KEEP_GOING_SECONDS,
        )
        key = f"upscaled/{services.random_source.token(32)}-{image.job.attempt}{extension}"
        with target.open("rb") as file:
            size = services.store.put(key, file)
    return Result(
        key=key,
        bytes=size,
        size=upscaled.result,
        seconds=round(upscaled.seconds, 2),
        model=upscaled.model,
        device=upscaled.device,
    )


def _renew_lease(services: Services, image: Image, progress: _Progress) -> bool:
    """Renew the lease and store the progress in one short transaction; return False if the claim is lost.

    Return True if the database is unavailable: the lease may outlast a short outage, and ``completion``
    detects a lost one.
    """
    try:
        return jobs.renew(services, image, progress.percent)
    except Unavailable:
        return True
