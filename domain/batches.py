"""Batches from the client's side: submit many images at once, follow them, cancel or delete them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from domain import batch_states, job_states, quota, uploads
from domain.batch_states import BatchState
from domain.errors import NotFound
from domain.job_states import Status
from domain.records import WholeBatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from domain.batch_states import BatchStatus
    from domain.database.unit_of_work import UnitOfWork
    from domain.errors import FieldProblem
    from domain.records import Account, Batch, Image
    from domain.services import Services
    from domain.uploads import Upload, UpscaleOptions

CANCELLED_SENTENCE = "The batch was cancelled before this picture was finished."


class Page(NamedTuple):
    batches: list[WholeBatch]
    total: int


def submit(
    services: Services,
    account: Account,
    files: Sequence[Upload],
    options: UpscaleOptions,
    name: str | None = None,
    known: Sequence[FieldProblem] = (),
) -> WholeBatch:
    """As ``images.submit`` for each file, all of them or none; problems of one are under ``images.N``."""
    plan = services.plans[account.plan]
    sent = {f"images.{number}": file for number, file in enumerate(files)}
    sizing, originals = uploads.check(services, plan, sent, options, known)
    with uploads.stored(services, originals) as stored, services.database.writing() as work:
        batch = work.batches.add(
            account_id=account.id,
            name=name,
            sizing=sizing,
            state=BatchState(total=len(originals)),
            now=services.clock.now(),
        )
        images = uploads.admit(services, work, account, stored, sizing, options.model, batch)
        work.commit()
    for image in images:
        services.queue.notify(image.id)
    return WholeBatch(batch, images)


def get(services: Services, account: Account, batch_id: int) -> WholeBatch:
    """Raises NotFound, whether there is no such batch or it is somebody else's."""
    with services.database.reading() as work:
        whole = work.batches.get(batch_id)
    if whole is None or whole.batch.account_id != account.id:
        raise NotFound
    return whole


def list_page(
    services: Services, account: Account, status: BatchStatus | None, page: int, per_page: int
) -> Page:
    with services.database.reading() as work:
        return Page(*work.batches.page(account.id, status, limit=per_page, offset=(page - 1) * per_page))


def remove(services: Services, account: Account, batch_id: int) -> bool:
    """True: it was at its end and is gone, images and files included. False: it was not, and is at its end now.

    Raises NotFound.
    """
    # Whoever asks to cancel, even twice at once, or as the last image ends, is not to lose what is finished.
    gone = get(services, account, batch_id).batch.status.terminal
    with services.database.writing() as work:
        batch = work.batches.locked(batch_id)
        if batch is None:
            raise NotFound
        images = work.images.locked_of(batch_id)
        if gone:
            work.images.delete_of(batch_id)
            work.batches.delete(batch_id)
        elif not batch.status.terminal:
            cancel(work, batch, images, services.clock.now())
        work.commit()
    if gone:
        uploads.delete_files(services, [key for image in images for key in image.keys])
    return gone


def cancel(work: UnitOfWork, batch: Batch, images: Sequence[Image], now: datetime) -> None:
    """Ends a batch that is not at its end. A worker at work on one of its images stops when it next looks at the row."""
    for image in images:
        if image.status.terminal:
            continue
        work.images.step(image, job_states.cancel(image.job), now, error=CANCELLED_SENTENCE)
        if image.status is Status.PENDING:
            quota.give_back(work, image)
    work.batches.step(batch, batch_states.cancel(batch.state), now)
