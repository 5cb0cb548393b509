"""The client's operations on images: submit, read, list, download and delete."""

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
    """One page of images; ``total`` counts the images of all pages."""

    images: list[Image]
    total: int


class Download(NamedTuple):
    """A signed URL, and the name under which the file is saved."""

    url: str
    filename: str


def submit(
    services: Services,
    account: Account,
    upload: Upload | None,
    options: UpscaleOptions,
    schema_problems: Sequence[FieldProblem] = (),
) -> Image:
    """Store the file as a pending image, reserve its quota and notify a worker; return the image.

    ``schema_problems`` are errors that were found before; without an upload, they must contain its error.
    Raise InvalidFields with them and all other errors. Raise QuotaExceeded, and Unavailable if too many
    images are pending. A notification that cannot be sent is no error.
    """
    plan = services.plans[account.plan]
    fields = {} if upload is None else {"image": upload}
    sizing, originals = uploads.validate(services, plan, fields, options, schema_problems)
    with uploads.store(services, originals) as files, services.database.writing() as work:
        (image,) = uploads.add_images(services, work, account, files, sizing, options.model)
        work.commit()
    services.queue.notify(image.id)
    return image


def get(services: Services, account: Account, image_id: int) -> Image:
    """Return the image. Raise NotFound, also if it belongs to another account."""
    with services.database.reading() as work:
        image = work.images.get(image_id)
    if image is None or image.account_id != account.id:
        raise NotFound
    return image


def list_page(services: Services, account: Account, status: Status | None, page: int, per_page: int) -> Page:
    """Return a page of the account's images, the newest first; ``page`` starts at 1, ``status`` None means all."""
    with services.database.reading() as work:
        return Page(*work.images.page(account.id, status, limit=per_page, offset=(page - 1) * per_page))


def download(services: Services, account: Account, image_id: int) -> Download:
    """Return where the result can be downloaded. Raise NotFound, and NotDownloadable if there is no result."""
    image = get(services, account, image_id)
    if image.result is None:
        raise NotDownloadable(image.status.value)
    return Download(download_url(services, image), download_filename(image))


def download_url(services: Services, image: Image) -> str:
    """Return a signed URL of the image's result, valid for the configured time; the image must have a result."""
    assert image.result is not None
    expires_at = services.clock.now() + services.policy.download_link_lifetime
    return services.store.signed_url(image.result.key, download_filename(image), expires_at)


def delete(services: Services, account: Account, image_id: int) -> None:
    """Delete the image and its files; the quota of a pending image is refunded.

    The batch of an unfinished image counts it as failed. A file that cannot be deleted is logged. Raise
    NotFound, also if the image belongs to another account. A worker that processes the image stops when it
    next renews the lease.
    """
    image = get(services, account, image_id)
    with services.database.writing() as work:
        batch = work.batches.locked(image.batch_id)
        # Read again: a worker may have claimed or finished the image since, or another request may have deleted it.
        current = work.images.locked(image.id)
        if current is None:
            raise NotFound
        work.images.delete(image.id)
        if batch is not None and not current.status.is_terminal:
            state = batch_states.count_image(batch.state, Status.FAILED)
            work.batches.step(batch, state, services.clock.now())
        if current.status is Status.PENDING:
            quota.refund(work, current)
        work.commit()
    uploads.delete_files(services, current.keys)
