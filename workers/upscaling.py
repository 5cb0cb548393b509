"""One image from its row to its result: claim, fetch, upscale, store, finish."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from domain import jobs
from domain.errors import InvalidImage, NotFound, Unavailable, UprezError
from domain.job_states import NotClaimable
from domain.records import Result
from workers.engine_child import (
    BEAT_SECONDS,
    EngineCancelled,
    EngineFaulty,
    EngineJob,
    EngineLost,
    EngineUnusable,
    ModelUnusable,
)
from workers.pool import EnginePool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from domain.records import Image
    from domain.services import Services
    from workers.engine_child import EngineChild

_log = logging.getLogger(__name__)
_MISSING_FILE_MESSAGE = "The picture could not be processed: its file is missing from the store."
_FINISH_RETRY_SECONDS = (0.5, 1.0, 2.0)


class _Progress:
    percent = 0

    def count(self, done: int, total: int) -> None:
        self.percent = min(99, 100 * done // total)  # 100 is the finished row's


class Upscaling:
    """What a worker does with a message, on as many threads as there are engines."""

    def __init__(
        self,
        services: Services,
        engines: Sequence[EngineChild],
        work_folder: Path,
        end_worker: Callable[[], None],
        reserve: EngineChild | None = None,
    ) -> None:
        """``end_worker`` is called when no engine can be started any more; ``broken_by`` then says why.

        ``reserve`` steps in when the last of the engines is set aside.
        """
        self.broken_by: EngineUnusable | None = None
        self._end_worker = end_worker
        self._services = services
        self._work_folder = work_folder
        self._stopping = threading.Event()
        self._engines = EnginePool(engines, reserve)

    def upscale(self, image_id: int) -> None:
        """The image, and before it, if it is of a batch, every single one that waits now; raises nothing of ours.

        Rows are asked, not queues: what a queue has handed out already, here or elsewhere, is in no order.
        Those that come meanwhile wait for the next time: as long as they come, no batch would have its turn.
        """
        singles: list[int] = []
        with suppress(Unavailable):
            singles = jobs.pending_singles_ahead_of(self._services, image_id)
        for each in [*singles, image_id]:
            self._upscale(each)

    @property
    def _is_stopping(self) -> bool:
        return self._stopping.is_set() or self.broken_by is not None

    def _upscale(self, image_id: int) -> None:
        """Ends with the row finished, claimable again, or somebody else's."""
        if self._is_stopping:
            return  # another worker's reconciler wakes it again
        # Before the claim: once an engine is set aside there are fewer than threads, and a lease runs out.
        engine = self._engines.acquire(image_id)
        try:
            if not self._is_stopping:
                self._upscale_with(engine, image_id)
        finally:
            self._engines.release(engine)

    def _upscale_with(self, engine: EngineChild, image_id: int) -> None:
        try:
            image = jobs.claim(self._services, image_id)
        except NotClaimable:
            return  # a late message
        except Unavailable:
            _log.warning("Image %d could not be claimed: the database does not answer.", image_id)
            return
        _log.info("Image %d: attempt %d.", image.id, image.job.attempt)
        try:
            self._attempt(engine, image)
        except (Unavailable, OSError) as reason:
            # Our own disk, store or database: the picture has lost nothing, and neither has its owner.
            _log.warning("Image %d: attempt %d ended: %s", image.id, image.job.attempt, reason)
            self._hand_back(image)
        except EngineUnusable as reason:
            _log.warning("Image %d is handed back: %s", image.id, reason)
            self._drop_lost_engine(engine, image, reason)
        except UprezError:
            _log.exception("Image %d: attempt %d ended unexpectedly.", image.id, image.job.attempt)
            self._requeue_lost(image)

    def _drop_lost_engine(self, engine: EngineChild, image: Image, reason: EngineUnusable) -> None:
        """A device that was there is gone for good: the others go on, and after the last, a new start may help."""
        if not self._remove_engine(engine):
            self.broken_by = reason
            self._end_worker()
        self._hand_back(image)

    def _remove_engine(self, engine: EngineChild) -> bool:
        """False for the last one: better a device that fails sometimes than none."""
        aside = self._engines.set_aside(engine)
        if aside:
            _log.warning("A device is set aside, and others go on.")
        return aside

    def stop(self) -> None:
        """Hands back what is at work; nothing new is begun."""
        self._stopping.set()

    def close(self) -> None:
        self._engines.close()

    def _attempt(self, engine: EngineChild, image: Image) -> None:
        try:
            result = self._run_engine(engine, image)
        except EngineCancelled:
            if self._stopping.is_set():
                self._hand_back(image)
            # Otherwise the image is deleted, its batch cancelled, or another attempt has it.
        except EngineLost as reason:
            _log.warning("Image %d: attempt %d lost: %s", image.id, image.job.attempt, reason)
            self._engines.record_lost(engine, image.id)
            if isinstance(reason, EngineFaulty):
                self._remove_engine(engine)
            self._requeue_lost(image)
        except InvalidImage as reason:
            jobs.fail(self._services, image, str(reason), refund=isinstance(reason, ModelUnusable))
        except NotFound:
            jobs.fail(self._services, image, _MISSING_FILE_MESSAGE, refund=True)
        else:
            self._finish(image, result)

    def _run_engine(self, engine: EngineChild, image: Image) -> Result:
        extension, policy = image.image_format.extension, self._services.policy
        # A word that is no longer offered is auto again: its owner was promised a result.
        model = None if image.model_choice is None else policy.model_choices.get(image.model_choice)
        self._work_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._work_folder, ignore_cleanup_errors=True) as folder:
            source = Path(folder) / f"original{extension}"
            target = Path(folder) / f"result{extension}"
            with self._services.store.open(image.original_key) as stored, source.open("wb") as file:
                shutil.copyfileobj(stored, file)
            progress = _Progress()
            report = engine.upscale(
                EngineJob(source, target, image.sizing, policy.result_caps, model),
                on_progress=progress.count,
                keep_going=lambda: self._renew_lease(image, progress),
                beat_seconds=BEAT_SECONDS,
            )
            key = f"upscaled/{self._services.random_source.token(32)}-{image.job.attempt}{extension}"
            with target.open("rb") as file:
                size = self._services.store.put(key, file)
        return Result(
            key=key,
            bytes=size,
            size=report.result,
            seconds=round(report.seconds, 2),
            model=report.model,
            device=report.device,
        )

    def _renew_lease(self, image: Image, progress: _Progress) -> bool:
        """Renews the lease and notes the progress in one small transaction."""
        if self._stopping.is_set():
            return False
        try:
            return jobs.renew(self._services, image, progress.percent)
        except Unavailable:
            return True  # the lease may outlast a short outage; finishing will tell

    def _finish(self, image: Image, result: Result) -> None:
        """The result's file stays where the row names it, or may name it, and nowhere else."""
        completed = self._complete(image, result)
        if not completed:
            # What one try is told may be due to another, whose COMMIT held and whose answer was lost.
            try:
                is_referenced = jobs.has_result(self._services, image, result)
            except Unavailable:
                _log.warning("Image %d: its result %s stays, and may be nobody's.", image.id, result.key)
                raise
            if not is_referenced:
                self._services.store.delete(result.key)  # nobody may ever see it
                if completed is None:
                    raise Unavailable("the database does not answer")
                return
        _log.info("Image %d: completed in %.2f s.", image.id, result.seconds)

    def _complete(self, image: Image, result: Result) -> bool | None:
        """None if the database never answered: minutes of work are not thrown away for one that is busy for seconds."""
        for delay in _FINISH_RETRY_SECONDS:
            try:
                return jobs.complete(self._services, image, result)
            except Unavailable:
                _log.warning("Image %d: its result waits for the database.", image.id)
                self._stopping.wait(delay)
        return None

    def _hand_back(self, image: Image) -> None:
        """No attempt lost. If even that cannot be written, the lease runs out and counts as one."""
        with suppress(Unavailable):
            if jobs.hand_back(self._services, image):
                self._services.queue.notify(image.id)

    def _requeue_lost(self, image: Image) -> None:
        """Tried again at once; the message that brought us here will not come a second time."""
        with suppress(Unavailable):
            if jobs.lose(self._services, image):
                self._services.queue.notify(image.id)
