"""From files that a client sent to rows that wait for a worker: all of them, or nothing at all."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from domain import model_choices, quota
from domain.errors import (
    CommitUncertain,
    FieldProblem,
    InvalidFields,
    InvalidImage,
    Unavailable,
    UprezError,
)
from domain.filenames import clean_filename
from domain.formats import ImageFormat
from domain.records import NewImage
from domain.sizing import Sizing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from domain.database.unit_of_work import UnitOfWork
    from domain.plans import Plan
    from domain.ports import ImageFacts
    from domain.records import Account, Batch, Image
    from domain.services import Services

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upload:
    """One file as it came; the name is whatever the client says."""

    filename: str
    content: BinaryIO
    bytes: int


@dataclass(frozen=True)
class UpscaleOptions:
    """What was asked for, as far as it was sent and well-formed; ``model`` is one of the words for it, None: auto."""

    scale_factor: int | None = None
    target_width: int | None = None
    target_height: int | None = None
    model: str | None = None

    @property
    def sizing(self) -> dict[str, int | None]:
        return {
            "scale_factor": self.scale_factor,
            "target_width": self.target_width,
            "target_height": self.target_height,
        }


class Original(NamedTuple):
    """An upload that was found in order."""

    upload: Upload
    facts: ImageFacts


def check(
    services: Services,
    plan: Plan,
    uploads: Mapping[str, Upload],
    options: UpscaleOptions,
    known: Sequence[FieldProblem],
) -> tuple[Sizing, list[Original]]:
    """What was asked for, and the files, which come under the names that their problems are reported under.

    Raises InvalidFields with ``known`` and everything else that is wrong; a missing file is the contract's
    business.
    """
    originals: dict[str, Original] = {}
    problems = [*known]
    for field, upload in uploads.items():
        try:
            originals[field] = Original(upload, _examined(services, upload, field))
        except InvalidFields as refused:
            problems += refused.problems
    problems += _not_offered(services, options.model)
    # Of the default nobody hears who asked for something else and was not understood.
    unheard = set(options.sizing.values()) == {None} and any(
        problem.field in options.sizing for problem in known
    )
    try:
        sizing = Sizing.asked(**options.sizing)
    except InvalidFields as refused:
        raise InvalidFields([*problems, *refused.problems]) from None
    if not unheard:
        problems += _unfit(services, plan, sizing, originals)
    if problems or not originals:
        raise InvalidFields(problems)
    return sizing, list(originals.values())


@contextmanager
def stored(services: Services, originals: Iterable[Original]) -> Iterator[dict[str, Original]]:
    """The files by the keys under which they lie; when anything fails before the end, none of them stays.

    Except where rows that name them may have been committed: rather a file that is nobody's than a row without.
    """
    files: dict[str, Original] = {}
    try:
        for original in originals:
            key = f"originals/{services.random_source.token(32)}{original.facts.image_format.extension}"
            services.store.put(key, original.upload.content)
            files[key] = original
        yield files
    except CommitUncertain:
        _log.warning("Whether they were accepted is not known; these may be nobody's: %s", ", ".join(files))
        raise
    except BaseException:
        delete_files(services, files)
        raise


def admit(
    services: Services,
    work: UnitOfWork,
    account: Account,
    files: Mapping[str, Original],
    sizing: Sizing,
    model: str | None,
    batch: Batch | None = None,
) -> list[Image]:
    """Pending rows for stored files, with their quota taken.

    Raises QuotaExceeded, and Unavailable where too many wait already.
    """
    now, policy = services.clock.now(), services.policy
    quota.take(work, account, services.plans[account.plan], now, len(files))
    if work.images.waiting(policy.max_waiting_images) + len(files) > policy.max_waiting_images:
        raise Unavailable(f"{policy.max_waiting_images} images wait already.")
    return [
        work.images.add(
            NewImage(
                account_id=account.id,
                filename=clean_filename(upload.filename),
                original_key=key,
                original_bytes=upload.bytes,
                original_size=facts.size,
                image_format=facts.image_format,
                sizing=sizing,
                api_request=True,
                quota_month=quota.month_of(now),
                batch_id=None if batch is None else batch.id,
                model_choice=model,
            ),
            now,
        )
        for key, (upload, facts) in files.items()
    ]


def delete_files(services: Services, keys: Iterable[str]) -> None:
    """Nobody sees them any more; one that cannot be deleted is a matter of the log."""
    for key in keys:
        try:
            services.store.delete(key)
        except UprezError:
            _log.exception("The object %s could not be deleted; it is nobody's now.", key)


def _examined(services: Services, upload: Upload, field: str) -> ImageFacts:
    """Raises InvalidFields."""
    policy = services.policy
    if upload.bytes > policy.max_upload_bytes:
        raise InvalidFields(
            [FieldProblem(field, "max_kilobytes", {"maximum": policy.max_upload_bytes // 1024})]
        )
    try:
        facts = services.probe(upload.content)
    except InvalidImage:
        raise InvalidFields([FieldProblem(field, "picture")]) from None
    max_frames = facts.image_format.max_frames
    if 1 + len(facts.further) > max_frames:
        rule = "max_pages" if facts.image_format is ImageFormat.TIFF else "max_frames"
        raise InvalidFields([FieldProblem(field, rule, {"maximum": max_frames})])
    if sum(size.pixels for size in (facts.size, *facts.further)) > policy.max_input_pixels:
        raise InvalidFields([FieldProblem(field, "max_pixels", {"maximum": policy.max_input_pixels})])
    return facts


def _not_offered(services: Services, model: str | None) -> list[FieldProblem]:
    choices = services.policy.model_choices
    if model is None or model in choices:
        return []
    return [FieldProblem("model", "offered", {"offered": ", ".join([model_choices.AUTO, *choices])})]


def _unfit(
    services: Services, plan: Plan, sizing: Sizing, originals: Mapping[str, Original]
) -> list[FieldProblem]:
    """What no file goes with is wrong with the wish; what only some do not go with is wrong with them."""
    found = [
        (field, problem)
        for field, (_, facts) in originals.items()
        for problem in sizing.problems(
            facts.size,
            plan.max_scale,
            services.policy.result_caps.for_format(facts.image_format),
            facts.further,
        )
    ]
    kinds = [(problem.field, problem.rule) for _, problem in found]
    return [
        problem
        if kinds.count((problem.field, problem.rule)) == len(originals)
        else FieldProblem(field, "unfit", {"because": problem})
        for field, problem in found
    ]
