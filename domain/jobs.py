"""Images from the worker's side: claim, keep, finish, hand back; and waking those that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain import batch_states, job_states, quota
from domain.job_states import NotClaimable, StaleAttempt, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.job_states import Job
    from domain.records import Image, Result
    from domain.services import Services

LOST_SENTENCE = "The picture could not be processed: the engine stopped on it several times."
_HEAD_OF_THE_LINE = 10


def claim(services: Services, image_id: int) -> Image:
    """The image, ours for as long as the lease is renewed.

    Raises NotClaimable when there is nothing to do: finished, deleted, at work elsewhere, or failed
    just now because too many attempts at it were lost.
    """
    now = services.clock.now()
    with services.database.writing() as work:
        image = work.images.get(image_id)
        if image is None:
            raise NotClaimable
        batch = work.batches.locked(image.batch_id)
        job = job_states.claim(image.job, now, services.policy.lease)
        failed = job.status is Status.FAILED
        if not work.images.step(image, job, now, error=LOST_SENTENCE if failed else None):
            raise NotClaimable
        if batch is not None:
            work.batches.step(batch, batch_states.image_moved(batch.state, job.status), now)
        if failed:
            quota.give_back(work, image)
            work.commit()
            raise NotClaimable
        claimed = work.images.get(image_id)
        assert claimed is not None
        work.commit()
    return claimed


def pending_singles_ahead_of(services: Services, image_id: int) -> list[int]:
    """The single images whose turn it is before this one's, which is of a batch; none before a single one.

    However many a batch has, nobody waits for more than one of them on each worker.
    """
    with services.database.reading() as work:
        image = work.images.get(image_id)
        if image is None or image.batch_id is None:
            return []
        return work.images.singles(now=services.clock.now())


def renew(services: Services, image: Image, progress: int) -> bool:
    """``progress`` in whole percent. False when the work is in vain: deleted, cancelled, or another's."""
    now = services.clock.now()
    return _step(
        services,
        image,
        lambda job: job_states.renew(job, image.job.attempt, now, services.policy.lease),
        progress=progress,
        may_end=False,
    )


def hand_back(services: Services, image: Image) -> bool:
    return _step(services, image, lambda job: job_states.hand_back(job, image.job.attempt), may_end=False)


def lose(services: Services, image: Image) -> bool:
    """After an attempt without a result: waits for the next one, or fails after the last."""
    return _step(
        services, image, lambda job: job_states.lose(job, image.job.attempt), error=LOST_SENTENCE, refund=True
    )


def complete(services: Services, image: Image, result: Result) -> bool:
    return _step(services, image, lambda job: job_states.complete(job, image.job.attempt), result=result)


def has_result(services: Services, image: Image, result: Result) -> bool:
    """Whether the row names this very result, which a COMMIT may have put there whose answer was lost."""
    with services.database.writing() as work:
        # Held, and so waited for: where writers are many, that COMMIT may still be under way.
        current = work.images.locked(image.id)
    return current is not None and current.result is not None and current.result.key == result.key


def fail(services: Services, image: Image, sentence: str, *, refund: bool) -> bool:
    """``refund`` when the file was not to blame."""
    return _step(
        services, image, lambda job: job_states.fail(job, image.job.attempt), error=sentence, refund=refund
    )


def requeue_stale_images(services: Services) -> int:
    """Tells the workers of images that wait without anybody knowing; how many."""
    now = services.clock.now()
    lately = now - services.policy.requeue_after
    with services.database.reading() as work:
        asleep = work.images.stale_ids(now=now, notified_before=lately, limit=_HEAD_OF_THE_LINE)
    if not asleep:
        return 0
    # Noted before they are told, and only if nobody else has: every worker has a reconciler.
    with services.database.writing() as work:
        ours = work.images.mark_notified(asleep, now, notified_before=lately)
        work.commit()
    told = 0
    for image_id in asleep:
        if image_id not in ours:
            continue
        if not services.queue.notify(image_id):
            break  # the broker is down: the others would only wait for the same answer
        told += 1
    return told


def _step(
    services: Services,
    image: Image,
    step: Callable[[Job], Job],
    *,
    progress: int | None = None,
    result: Result | None = None,
    error: str | None = None,
    refund: bool = False,
    may_end: bool = True,
) -> bool:
    """False, and nothing changed, when this attempt no longer counts."""
    now = services.clock.now()
    with services.database.writing() as work:
        # The batch before its image, as everybody, where the step may be one that it counts.
        batch = work.batches.locked(image.batch_id) if may_end else None
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
                work.batches.step(batch, batch_states.image_moved(batch.state, job.status), now)
            # First the image, then the quota, as everybody: who took them crosswise would wait for each other.
            if failed and refund:
                quota.give_back(work, current)
            work.commit()
        return stepped
