"""The worker's operations on images: claim, renew, complete, fail, release, and requeue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain import batch_states, job_states, quota
from domain.job_states import NotClaimable, StaleAttempt, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.job_states import Job
    from domain.records import Image, Result
    from domain.services import Services

LOST_MESSAGE = "The image could not be processed: the engine stopped on it several times."
_MAX_REQUEUED = 10


def claim(services: Services, image_id: int) -> Image:
    """Claim the image for this worker and return it. The claim holds while its lease is renewed.

    An expired lease counts as a lost attempt. The batch of the image, if any, becomes processing. Raise
    NotClaimable if the image is deleted, finished or claimed by another worker, and if this call has failed
    it because too many attempts at it were lost; its quota is then refunded, and its batch counts it as
    failed.
    """
    now = services.clock.now()
    with services.database.writing() as work:
        image = work.images.get(image_id)
        if image is None:
            raise NotClaimable
        batch = work.batches.locked(image.batch_id)
        job = job_states.claim(image.job, now, services.policy.lease)
        failed = job.status is Status.FAILED
        if not work.images.step(image, job, now, error=LOST_MESSAGE if failed else None):
            raise NotClaimable
        if batch is not None:
            work.batches.step(batch, batch_states.count_image(batch.state, job.status), now)
        if failed:
            quota.refund(work, image)
            work.commit()
            raise NotClaimable
        claimed = work.images.get(image_id)
        assert claimed is not None
        work.commit()
    return claimed


def pending_singles_ahead_of(services: Services, image_id: int) -> list[int]:
    """Return the ids of all claimable images in no batch, the oldest first, if this image is in a batch.

    The list is empty if this image is itself in no batch, or is deleted. Single images go before images of
    batches, so that a single image waits for at most one batch image per worker.
    """
    with services.database.reading() as work:
        image = work.images.get(image_id)
        if image is None or image.batch_id is None:
            return []
        return work.images.claimable_single_ids(now=services.clock.now())


def renew(services: Services, image: Image, progress: int) -> bool:
    """Extend the lease and store the progress in whole percent.

    Return False if the attempt is no longer current: the image is deleted, cancelled or claimed by another worker.
    """
    now = services.clock.now()
    return _step(
        services,
        image,
        lambda job: job_states.renew(job, image.job.attempt, now, services.policy.lease),
        progress=progress,
        can_finish=False,
    )


def release_claim(services: Services, image: Image) -> bool:
    """Release the claim without counting a lost attempt.

    The image stays processing, and any worker may claim it. Return False if the attempt is no longer current.
    """
    return _step(
        services, image, lambda job: job_states.release_claim(job, image.job.attempt), can_finish=False
    )


def record_lost_attempt(services: Services, image: Image) -> bool:
    """Count an attempt without a result: the image is claimable again, or has failed after the last attempt.

    A failed image gets ``LOST_MESSAGE``, its quota is refunded, and its batch counts it. Return False if the
    attempt is no longer current.
    """
    return _step(
        services,
        image,
        lambda job: job_states.record_lost_attempt(job, image.job.attempt),
        error=LOST_MESSAGE,
        refund=True,
    )


def complete(services: Services, image: Image, result: Result) -> bool:
    """Store the result, complete the image and count it in its batch.

    Return False, without storing anything, if the attempt is no longer current.
    """
    return _step(services, image, lambda job: job_states.complete(job, image.job.attempt), result=result)


def has_result(services: Services, image: Image, result: Result) -> bool:
    """Return whether a result with this key is stored, for example by a COMMIT whose response was lost.

    Return False if the image is deleted. Nothing is written, but the call may wait for other writers.
    """
    with services.database.writing() as work:
        # The row lock waits for that COMMIT, which may still be running on PostgreSQL.
        current = work.images.locked(image.id)
    return current is not None and current.result is not None and current.result.key == result.key


def fail(services: Services, image: Image, message: str, *, refund: bool) -> bool:
    """Fail the image with a message for its owner and count it in its batch.

    Return False, without a change, if the attempt is no longer current.
    ``refund`` gives back the quota: set it when the file did not cause the failure.
    """
    return _step(
        services, image, lambda job: job_states.fail(job, image.job.attempt), error=message, refund=refund
    )


def requeue_stale_images(services: Services) -> int:
    """Notify the workers again of images that have waited too long; return the number of messages sent.

    Only the ``_MAX_REQUEUED`` oldest claimable images are considered. They are marked as notified first:
    after the first message that cannot be sent, the others wait for another ``requeue_after``.
    """
    now = services.clock.now()
    notified_before = now - services.policy.requeue_after
    with services.database.reading() as work:
        stale = work.images.stale_ids(now=now, notified_before=notified_before, limit=_MAX_REQUEUED)
    if not stale:
        return 0
    # Every worker has a reconciler: marking first ensures that only one of them notifies.
    with services.database.writing() as work:
        marked = work.images.mark_notified(stale, now, notified_before=notified_before)
        work.commit()
    count = 0
    for image_id in stale:
        if image_id not in marked:
            continue
        if not services.queue.notify(image_id):
            break  # the broker is down, so the other notifications would fail too
        count += 1
    return count


def _step(
    services: Services,
    image: Image,
    step: Callable[[Job], Job],
    *,
    progress: int | None = None,
    result: Result | None = None,
    error: str | None = None,
    refund: bool = False,
    can_finish: bool = True,
) -> bool:
    """Apply ``step`` to the image's job and update its row, its batch and its quota in one transaction.

    ``error`` is stored only if the job has failed. Return False, without a change, if the attempt is no longer
    current. ``can_finish`` is whether the step can finish the image.
    """
    now = services.clock.now()
    with services.database.writing() as work:
        # Lock order: batch, image, quota, counts. The batch is needed only if its counters can change.
        batch = work.batches.locked(image.batch_id) if can_finish else None
        current = work.images.get(image.id)
        if current is None:
            return False
        try:
            job = step(current.job)
        except StaleAttempt:
            return False
        failed = job.status is Status.FAILED
        stepped = work.images.step(
            current, job, now, progress=progress, result=result, error=error if failed else None
        )
        if stepped:
            if batch is not None:
                work.batches.step(batch, batch_states.count_image(batch.state, job.status), now)
            # The image's row is locked before the quota's everywhere, which prevents a deadlock.
            if failed and refund:
                quota.refund(work, current)
            work.commit()
        return stepped
