"""Images from the client's side: submit, look, list, download, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from domain import batch_states, quota, uploads
from domain.errors import NotDownloadable, NotFound
from domain.filenames import download_filename
from domain.job_states import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.errors import FieldProblem
    from domain.records import Account, Image
    from domain.services import Services
    from domain.uploads import Upload, UpscaleOptions


class Page(NamedTuple):
    images: list[Image]
    total: int


class Download(NamedTuple):
    url: str
    filename: str


def submit(
    services: Services,
    account: Account,
    upload: Upload | None,
    options: UpscaleOptions,
    known: Sequence[FieldProblem] = (),
) -> Image:
    """The pending image: its file stored, its quota taken, its row committed, a worker told.

    ``known`` are problems found before; InvalidFields carries them and everything else that is wrong.
    Raises QuotaExceeded for a request that is otherwise right.
    """
    plan = services.plans[account.plan]
    sent = {} if upload is None else {"image": upload}
    sizing, originals = uploads.check(services, plan, sent, options, known)
    with uploads.stored(services, originals) as files, services.database.writing() as work:
        (image,) = uploads.admit(services, work, account, files, sizing, options.model)
        work.commit()
    services.queue.notify(image.id)
    return image


def get(services: Services, account: Account, image_id: int) -> Image:
    """Raises NotFound, whether there is no such image or it is somebody else's."""
    with services.database.reading() as work:
        image = work.images.get(image_id)
    if image is None or image.account_id != account.id:
        raise NotFound
    return image


def list_page(services: Services, account: Account, status: Status | None, page: int, per_page: int) -> Page:
    with services.database.reading() as work:
        return Page(*work.images.page(account.id, status, limit=per_page, offset=(page - 1) * per_page))


def download(services: Services, account: Account, image_id: int) -> Download:
    """Raises NotFound and NotDownloadable."""
    image = get(services, account, image_id)
    if image.result is None:
        raise NotDownloadable(image.status.value)
    return Download(download_url(services, image), download_filename(image))


def download_url(services: Services, image: Image) -> str:
    assert image.result is not None
    expires_at = services.clock.now() + services.policy.download_link_lifetime
    return services.store.signed_url(image.result.key, download_filename(image), expires_at)


def delete(services: Services, account: Account, image_id: int) -> None:
    """Gone everywhere; a worker at work on it stops when it next looks at the row. Raises NotFound."""
    image = get(services, account, image_id)
    with services.database.writing() as work:
        batch = work.batches.locked(image.batch_id)
        # Read again: the worker may have claimed or finished it since, or another request deleted it.
        current = work.images.locked(image.id)
        if current is None:
            raise NotFound
        work.images.delete(image.id)
        if batch is not None and not current.status.terminal:
            state = batch_states.image_moved(batch.state, Status.FAILED)
            work.batches.step(batch, state, services.clock.now())
        if current.status is Status.PENDING:
            quota.give_back(work, current)
        work.commit()
    uploads.delete_files(services, current.keys)
