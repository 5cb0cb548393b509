"""The processing of messages: acquire an engine, claim the image, run an attempt, and handle each failure of it."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from domain import jobs
from domain.errors import InvalidImage, NotFound, Unavailable, UprezError
from domain.job_states import NotClaimable
from workers.attempt import run_attempt
from workers.completion import record_result
from workers.engine.errors import EngineCancelled, EngineFaulty, EngineLost, EngineUnusable, ModelUnusable
from workers.pool import EnginePool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from domain.records import Image
    from domain.services import Services
    from workers.engine_child import EngineChild

_log = logging.getLogger(__name__)
_MISSING_FILE_MESSAGE = "The image could not be processed: its file is missing from the store."


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

    def stop(self) -> None:
        """Ask for the images in progress to be released at their next lease renewal, and start no other.

        Return at once.
        """
        self._stopping.set()

    def close(self) -> None:
        """Kill all engine children."""
        self._engines.close()

    @property
    def _is_stopping(self) -> bool:
        """Return True after ``stop``, and after the last engine was lost for good."""
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
                self._claim_and_attempt(engine, image_id)
        finally:
            self._engines.release(engine)

    def _claim_and_attempt(self, engine: EngineChild, image_id: int) -> None:
        """Claim the image and run one attempt with the engine.

        Leave the image as it is if it cannot be claimed: another worker has it, it is finished or deleted, or the
        database is not available. An outage of the database, store or disk during the attempt costs the image no attempt.
        An unusable engine is removed from the pool, except the last one, and the image is released. Any other UprezError
        that the attempt has not handled itself puts the image back into the queue. No UprezError and no OSError leaves
        this method.
        """
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

    def _attempt(self, engine: EngineChild, image: Image) -> None:
        """Run one attempt and record its result, its failure or its loss in the image's row.

        Raise EngineUnusable if the engine cannot start, and Unavailable, OSError or another UprezError if the
        row, the store or the disk failed: the row may then still have the claim.
        """
        try:
            result = run_attempt(self._services, engine, image, self._work_folder, self._stopping)
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
            record_result(self._services, image, result, self._stopping)

    def _release(self, image: Image) -> None:
        """Make the image claimable again without losing an attempt.

        If the database is unavailable, the lease expires and counts as a lost attempt.
        """
        with suppress(Unavailable):
            if jobs.release_claim(self._services, image):
                self._services.queue.notify(image.id)

    def _requeue_lost(self, image: Image) -> None:
        """Count a lost attempt and send a new message: the queue does not deliver the old one a second time.

        Do nothing if the attempt is no longer current. If the database is unavailable, nothing happens until
        the lease expires; the attempt is counted then.
        """
        with suppress(Unavailable):
            if jobs.record_lost_attempt(self._services, image):
                self._services.queue.notify(image.id)

    def _drop_lost_engine(self, engine: EngineChild, image: Image, reason: EngineUnusable) -> None:
        """Remove an engine that is lost for good and release the image; end the worker after the last engine.

        A new start of the worker may find the device again.
        """
        if not self._remove_engine(engine):
            self.fatal_error = reason
            self._end_worker()
        self._release(image)

    def _remove_engine(self, engine: EngineChild) -> bool:
        """Remove the engine and log it; return False and keep it if it is the last one without a reserve.

        A device that fails sometimes is better than none.
        """
        is_removed = self._engines.remove(engine)
        if is_removed:
            _log.warning("engine_removed")
        return is_removed
