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
_MISSING_FILE_MESSAGE = "The image could not be processed: its file is missing from the store."
_FINISH_RETRY_SECONDS = (0.5, 1.0, 2.0)


class _Progress:
    percent = 0

    def update(self, done: int, total: int) -> None:
        self.percent = min(99, 100 * done // total)  # only a finished row has 100


class Upscaling:
    """The processing of messages, on as many threads as there are engines."""

    def __init__(
        self,
        services: Services,
        engines: Sequence[EngineChild],
        work_folder: Path,
        end_worker: Callable[[], None],
        reserve: EngineChild | None = None,
    ) -> None:
        """Store the engines; ``reserve`` replaces the last of them when that one is removed.

        ``end_worker`` is called when no engine can be started any more; ``fatal_error`` then holds the
        reason.
        """
        self.fatal_error: EngineUnusable | None = None
        self._end_worker = end_worker
        self._services = services
        self._work_folder = work_folder
        self._stopping = threading.Event()
        self._engines = EnginePool(engines, reserve)

    def upscale(self, image_id: int) -> None:
        """Process the image; if it belongs to a batch, first process every single image that waits now.

        The order comes from the rows and not from the queue: what a queue has delivered already, here or to
        another worker, has no order. Single images that arrive meanwhile wait for the next message: otherwise
        a batch would never be processed while they arrive. No UprezError leaves this method.
        """
        singles: list[int] = []
        with suppress(Unavailable):
            singles = jobs.pending_singles_ahead_of(self._services, image_id)
        for each in [*singles, image_id]:
            self._upscale(each)

    @property
    def _is_stopping(self) -> bool:
        return self._stopping.is_set() or self.fatal_error is not None

    def _upscale(self, image_id: int) -> None:
        """Process one image; afterwards its row is finished, claimable again or claimed by another worker."""
        if self._is_stopping:
            return  # the reconciler of another worker requeues it
        # The engine comes before the claim: after an engine is removed there are fewer engines than threads,
        # and a lease would expire while it waits.
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
            return  # the message came late
        except Unavailable:
            _log.warning("image_not_claimed image_id=%d reason=database_unavailable", image_id)
            return
        _log.info("image_attempt_started image_id=%d attempt=%d", image.id, image.job.attempt)
        try:
            self._attempt(engine, image)
        except (Unavailable, OSError) as reason:
            # The server's own disk, store or database failed: the image loses no attempt, and its owner no
            # quota.
            _log.warning(
                "image_attempt_interrupted image_id=%d attempt=%d reason=%s",
                image.id,
                image.job.attempt,
                reason,
            )
            self._release(image)
        except EngineUnusable as reason:
            _log.warning("image_released image_id=%d reason=%s", image.id, reason)
            self._drop_lost_engine(engine, image, reason)
        except UprezError:
            _log.exception("image_attempt_failed image_id=%d attempt=%d", image.id, image.job.attempt)
            self._requeue_lost(image)

    def _drop_lost_engine(self, engine: EngineChild, image: Image, reason: EngineUnusable) -> None:
        """Remove an engine that is lost for good and release the image; end the worker after the last engine.

        A new start of the worker may find the device again.
        """
        if not self._remove_engine(engine):
            self.fatal_error = reason
            self._end_worker()
        self._release(image)

    def _remove_engine(self, engine: EngineChild) -> bool:
        """Remove the engine; return False for the last one.

        A device that fails sometimes is better than none.
        """
        is_removed = self._engines.remove(engine)
        if is_removed:
            _log.warning("engine_removed")
        return is_removed

    def stop(self) -> None:
        """Release the images in progress, and start no other."""
        self._stopping.set()

    def close(self) -> None:
        """Kill all engine children."""
        self._engines.close()

    def _attempt(self, engine: EngineChild, image: Image) -> None:
        try:
            result = self._run_engine(engine, image)
        except EngineCancelled:
            if self._stopping.is_set():
                self._release(image)
            # In all other cases the image is deleted, its batch is cancelled, or another attempt has claimed
            # it.
        except EngineLost as reason:
            _log.warning(
                "image_attempt_lost image_id=%d attempt=%d reason=%s", image.id, image.job.attempt, reason
            )
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
        # A model choice that is no longer offered becomes auto: the owner still gets a result.
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
                on_progress=progress.update,
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
        """Renew the lease and store the progress in one short transaction; return False if the job must stop."""
        if self._stopping.is_set():
            return False
        try:
            return jobs.renew(self._services, image, progress.percent)
        except Unavailable:
            return True  # the lease may outlast a short outage; finishing detects a lost one

    def _finish(self, image: Image, result: Result) -> None:
        """Complete the row, and delete the result's file unless the row refers to it or may refer to it."""
        completed = self._complete(image, result)
        if not completed:
            # False may come from an earlier try whose COMMIT succeeded although its response was lost.
            try:
                is_referenced = jobs.has_result(self._services, image, result)
            except Unavailable:
                _log.warning(
                    "result_file_kept image_id=%d key=%s reason=database_unavailable", image.id, result.key
                )
                raise
            if not is_referenced:
                self._services.store.delete(result.key)  # no row refers to it
                if completed is None:
                    raise Unavailable("the database does not respond")
                return
        _log.info("image_completed image_id=%d seconds=%.2f", image.id, result.seconds)

    def _complete(self, image: Image, result: Result) -> bool | None:
        """Complete the row and return whether this attempt still had the image.

        Return None if the database never responded. A database that is busy for seconds must not cost minutes
        of work, so there are several tries.
        """
        for delay in _FINISH_RETRY_SECONDS:
            try:
                return jobs.complete(self._services, image, result)
            except Unavailable:
                _log.warning("image_completion_delayed image_id=%d reason=database_unavailable", image.id)
                self._stopping.wait(delay)
        return None

    def _release(self, image: Image) -> None:
        """Make the image claimable again without losing an attempt.

        If the database is unavailable, the lease expires and counts as a lost attempt.
        """
        with suppress(Unavailable):
            if jobs.release(self._services, image):
                self._services.queue.notify(image.id)

    def _requeue_lost(self, image: Image) -> None:
        """Count a lost attempt and queue the image again: its message is not delivered a second time."""
        with suppress(Unavailable):
            if jobs.record_lost_attempt(self._services, image):
                self._services.queue.notify(image.id)
