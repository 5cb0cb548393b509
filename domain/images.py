"""Images from the client's side: submit, look, list, download, delete."""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from domain import quota
from domain.errors import FieldProblem, InvalidFields, NotDownloadable, NotFound, PictureError, UprezError
from domain.formats import format_named
from domain.job_states import Status
from domain.records import NewImage
from domain.sizing import Sizing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.ports import PictureFacts
    from domain.records import Account, Image
    from domain.services import Services

_log = logging.getLogger(__name__)
_MAX_FILENAME = 255


@dataclass(frozen=True)
class Upload:
    """One file as it came; the name is whatever the client says."""

    filename: str
    content: BinaryIO
    bytes: int


@dataclass(frozen=True)
class Wish:
    """The sizing fields that were sent and well-formed."""

    scale_factor: int | None = None
    target_width: int | None = None
    target_height: int | None = None


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
    wish: Wish,
    known: Sequence[FieldProblem] = (),
) -> Image:
    """The pending image: its file stored, its quota taken, its row committed, a worker told.

    ``known`` are problems found before; InvalidFields carries them and everything else that is wrong.
    Raises QuotaExceeded for a request that is otherwise right.
    """
    plan = services.plans[account.plan]
    facts, problems = _examine(services, upload, "image")
    sizing, sizing_problems = _sizing(services, wish, facts, plan.max_scale)
    if wish == Wish() and any(problem.field in vars(wish) for problem in known):
        sizing_problems = []  # of the default, which nobody asked for
    problems = [*known, *problems, *sizing_problems]
    if problems or upload is None or facts is None or sizing is None:
        raise InvalidFields(problems)

    now = services.clock.now()
    key = f"originals/{services.chance.letters(32)}{facts.picture_format.extension}"
    services.store.put(key, upload.content)
    try:
        with services.database.writing() as work:
            quota.take(work, account, plan, now)
            image = work.images.add(
                NewImage(
                    account_id=account.id,
                    filename=clean_filename(upload.filename),
                    original_key=key,
                    original_bytes=upload.bytes,
                    original_size=facts.size,
                    picture_format=facts.picture_format,
                    sizing=sizing,
                    api_request=True,
                    quota_month=quota.month_of(now),
                ),
                now,
            )
            work.commit()
    except BaseException:
        _delete_file(services, key)
        raise
    services.queue.wake(image.id)
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
    expires_at = services.clock.now() + services.rules.download_link_lifetime
    return services.store.signed_url(image.result.key, download_filename(image), expires_at)


def delete(services: Services, account: Account, image_id: int) -> None:
    """Gone everywhere; a worker at work on it stops when it next looks at the row. Raises NotFound."""
    image = get(services, account, image_id)
    with services.database.writing() as work:
        # Read again: the worker may have claimed or finished it since, or another request deleted it.
        current = work.images.locked(image.id)
        if current is None:
            raise NotFound
        work.images.delete(image.id)
        if current.status is Status.PENDING:
            quota.give_back(work, current)
        work.commit()
    for key in (current.original_key, current.result.key if current.result else None):
        if key is not None:
            _delete_file(services, key)


def download_filename(image: Image) -> str:
    """The client's own name; its extension put right where the content says otherwise."""
    name = PurePosixPath(image.filename)
    named = format_named(image.filename)
    if named is image.picture_format:
        return image.filename
    stem = image.filename if named is None else name.stem
    extension = image.picture_format.extension
    return f"{stem[: _MAX_FILENAME - len(extension)]}{extension}"


def clean_filename(name: str) -> str:
    """A name to show and to download under, never a path: the last part, without control characters."""
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(letter for letter in last if not _is_control(letter))
    cleaned = unicodedata.normalize("NFC", printable).strip(" .") or "image"
    stem, dot, extension = cleaned.rpartition(".")
    if len(cleaned) > _MAX_FILENAME and dot and len(extension) < 8:  # noqa: PLR2004  # the longest extension worth keeping
        return f"{stem[: _MAX_FILENAME - len(extension) - 1]}.{extension}"
    return cleaned[:_MAX_FILENAME].rstrip(" .")


def _is_control(letter: str) -> bool:
    """Also what only steers how text is shown, as right-to-left does, and breaks of lines and paragraphs."""
    category = unicodedata.category(letter)
    return category[0] == "C" or category in {"Zl", "Zp"}


def _examine(
    services: Services, upload: Upload | None, field: str
) -> tuple[PictureFacts | None, list[FieldProblem]]:
    """What the file is, or what is wrong with it; a missing file is the contract's business."""
    if upload is None:
        return None, []
    rules = services.rules
    if upload.bytes > rules.max_upload_bytes:
        return None, [FieldProblem(field, "max_kilobytes", {"maximum": rules.max_upload_bytes // 1024})]
    try:
        facts = services.probe(upload.content)
    except PictureError:
        return None, [FieldProblem(field, "picture")]
    if facts.size.pixels > rules.max_input_pixels:
        return None, [FieldProblem(field, "max_pixels", {"maximum": rules.max_input_pixels})]
    return facts, []


def _sizing(
    services: Services, wish: Wish, facts: PictureFacts | None, max_scale: int
) -> tuple[Sizing | None, list[FieldProblem]]:
    try:
        sizing = Sizing.asked(wish.scale_factor, wish.target_width, wish.target_height)
    except InvalidFields as refused:
        return None, list(refused.problems)
    if facts is None:
        return sizing, []
    caps = services.rules.result_caps.for_format(facts.picture_format)
    return sizing, sizing.problems(facts.size, max_scale, caps)


def _delete_file(services: Services, key: str) -> None:
    try:
        services.store.delete(key)
    except UprezError:
        _log.exception("The object %s could not be deleted; it is nobody's now.", key)
