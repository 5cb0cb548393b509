"""The client's operations on batches: submit many images together, read, list, cancel and delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from domain import batch_states, job_states, quota, uploads
from domain.batch_states import BatchState
from domain.errors import NotFound
from domain.job_states import Status
from domain.records import BatchWithImages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from domain.batch_states import BatchStatus
    from domain.database.unit_of_work import UnitOfWork
    from domain.errors import FieldProblem
    from domain.records import Account, Batch, Image
    from domain.services import Services
    from domain.uploads import Upload, UpscaleOptions

_CANCELLED_MESSAGE = "The batch was cancelled before this image was finished."


class Page(NamedTuple):
    """One page of batches; ``total`` counts the batches of all pages."""

    batches: list[BatchWithImages]
    total: int


def submit(
    services: Services,
    account: Account,
    files: Sequence[Upload],
    options: UpscaleOptions,
    name: str | None = None,
    schema_problems: Sequence[FieldProblem] = (),
) -> BatchWithImages:
    """Store the files as one batch of pending images and notify a worker of each; store all of them or none.

    ``schema_problems`` are errors that were found before. Raise InvalidFields with them and all other errors,
    where an error of one file has the field ``images.<index>``. Raise QuotaExceeded, and Unavailable if too
    many images are pending. A notification that cannot be sent is no error.
    """
    plan = services.plans[account.plan]
    fields = {f"images.{number}": file for number, file in enumerate(files)}
    sizing, originals = uploads.validate(services, plan, fields, options, schema_problems)
    with uploads.store(services, originals) as stored, services.database.writing() as work:
        batch = work.batches.add(
            account_id=account.id,
            name=name,
            sizing=sizing,
            state=BatchState(total=len(originals)),
            now=services.clock.now(),
        )
        images = uploads.add_images(services, work, account, stored, sizing, options.model, batch)
        work.commit()
    for image in images:
        services.queue.notify(image.id)
    return BatchWithImages(batch, images)


def get(services: Services, account: Account, batch_id: int) -> BatchWithImages:
    """Return the batch with its images. Raise NotFound, also if it belongs to another account."""
    with services.database.reading() as work:
        found = work.batches.get(batch_id)
    if found is None or found.batch.account_id != account.id:
        raise NotFound
    return found


def list_page(
    services: Services, account: Account, status: BatchStatus | None, page: int, per_page: int
) -> Page:
    """Return a page of the account's batches, the newest first; ``page`` starts at 1, ``status`` None means all."""
    with services.database.reading() as work:
        return Page(*work.batches.page(account.id, status, limit=per_page, offset=(page - 1) * per_page))


def remove(services: Services, account: Account, batch_id: int) -> bool:
    """Delete a finished batch with its images and files, or cancel an unfinished one.

    Return True if the batch was deleted, False if it was cancelled or has finished just before. Raise
    NotFound, also if it belongs to another account. A file that cannot be deleted is logged.
    """
    # Decided before the lock: a request to cancel must not delete results, even if it is sent twice
    # concurrently or the last image finishes at the same moment.
    is_deletion = get(services, account, batch_id).batch.status.is_terminal
    with services.database.writing() as work:
        batch = work.batches.locked(batch_id)
        if batch is None:
            raise NotFound
        images = work.images.locked_of(batch_id)
        if is_deletion:
            work.images.delete_of_batch(batch_id)
            work.batches.delete(batch_id)
        elif not batch.status.is_terminal:
            cancel(work, batch, images, services.clock.now())
        work.commit()
    if is_deletion:
        uploads.delete_files(services, [key for image in images for key in image.keys])
    return is_deletion


def cancel(work: UnitOfWork, batch: Batch, images: Sequence[Image], now: datetime) -> None:
    """Cancel an unfinished, locked batch: its unfinished images fail, and the quota of pending ones is refunded.

    The caller commits. A worker that processes one of the images stops when it next renews the lease.
    """
    for image in images:
        if image.status.is_terminal:
            continue
        work.images.step(image, job_states.cancel(image.job), now, error=_CANCELLED_MESSAGE)
        if image.status is Status.PENDING:
            quota.refund(work, image)
    work.batches.step(batch, batch_states.cancel(batch.state), now)
