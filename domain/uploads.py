"""Uploads: validate the files of a request, store them and add their images, all of them or none."""

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
    """One file of a request; the client chooses its name."""

    filename: str
    content: BinaryIO
    bytes: int


@dataclass(frozen=True)
class UpscaleOptions:
    """The well-formed options of a request; ``model`` is a value of ``domain/model_choices.py``, None means
    auto.
    """

    scale_factor: int | None = None
    target_width: int | None = None
    target_height: int | None = None
    model: str | None = None

    @property
    def sizing(self) -> dict[str, int | None]:
        """Return the options that determine the size of the result, by field."""
        return {
            "scale_factor": self.scale_factor,
            "target_width": self.target_width,
            "target_height": self.target_height,
        }


class Original(NamedTuple):
    """A valid upload, and its format and sizes."""

    upload: Upload
    facts: ImageFacts


def validate(
    services: Services,
    plan: Plan,
    uploads: Mapping[str, Upload],
    options: UpscaleOptions,
    schema_problems: Sequence[FieldProblem],
) -> tuple[Sizing, list[Original]]:
    """Return the sizing and the files of a valid request.

    ``uploads`` maps the field under which a file's errors are reported to the file. Raise InvalidFields with
    ``schema_problems`` and all other errors. A missing file is one of ``schema_problems``: ``required`` in
    the contract's schema, which ``handlers.transport.bodies`` checks. The sizing is checked for the valid
    files only, and not at all if all sizing options of the request were malformed.
    """
    originals: dict[str, Original] = {}
    problems = [*schema_problems]
    for field, upload in uploads.items():
        try:
            originals[field] = Original(upload, _inspect(services, upload, field))
        except InvalidFields as error:
            problems += error.problems
    problems += _model_problems(services, options.model)
    # If the request's only sizing options were malformed, errors of the default factor would be misleading.
    is_sizing_unknown = set(options.sizing.values()) == {None} and any(
        problem.field in options.sizing for problem in schema_problems
    )
    try:
        sizing = Sizing.from_options(**options.sizing)
    except InvalidFields as error:
        raise InvalidFields([*problems, *error.problems]) from None
    if not is_sizing_unknown:
        problems += _sizing_problems(services, plan, sizing, originals)
    if problems or not originals:
        raise InvalidFields(problems)
    return sizing, list(originals.values())


@contextmanager
def store(services: Services, originals: Iterable[Original]) -> Iterator[dict[str, Original]]:
    """Store the files under random keys and provide them by these keys. Raise Unavailable.

    Delete the stored files if a later file cannot be stored or the ``with`` block raises.
    Keep the files after CommitUncertain: an unused file does less harm than an image without its file.
    """
    files: dict[str, Original] = {}
    try:
        for original in originals:
            key = f"originals/{services.random_source.token(32)}{original.facts.image_format.extension}"
            services.store.put(key, original.upload.content)
            files[key] = original
        yield files
    except CommitUncertain:
        _log.warning("commit_uncertain possibly_unused_keys=%s", ",".join(files))
        raise
    except BaseException:
        delete_files(services, files)
        raise


def add_images(
    services: Services,
    work: UnitOfWork,
    account: Account,
    files: Mapping[str, Original],
    sizing: Sizing,
    model: str | None,
    batch: Batch | None = None,
) -> list[Image]:
    """Reserve the quota of stored files, add their pending images and return them in the order of ``files``.

    The caller commits; without a commit, no quota is used. ``model`` None means auto.
    Raise QuotaExceeded, and Unavailable if too many images of all accounts would be pending.
    """
    now, policy = services.clock.now(), services.policy
    quota.reserve(work, account, services.plans[account.plan], now, len(files))
    if work.images.count_pending(policy.max_waiting_images) + len(files) > policy.max_waiting_images:
        raise Unavailable(f"{policy.max_waiting_images} images are pending already.")
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
    """Delete unused files; log the ones that cannot be deleted instead of raising an error."""
    for key in keys:
        try:
            services.store.delete(key)
        except UprezError:
            _log.exception("file_not_deleted key=%s", key)


def _inspect(services: Services, upload: Upload, field: str) -> ImageFacts:
    """Return the file's format and sizes.

    Raise InvalidFields, with one error of ``field``, if it is unacceptable. The file must not be too large,
    must be an image of a supported format, and must have neither too many frames or pages nor too many pixels
    in all of them together.
    """
    policy = services.policy
    if upload.bytes > policy.max_upload_bytes:
        raise InvalidFields(
            [FieldProblem(field, "max_kilobytes", {"maximum": policy.max_upload_bytes // 1024})]
        )
    try:
        facts = services.probe(upload.content)
    except InvalidImage:
        raise InvalidFields([FieldProblem(field, "image_file")]) from None
    max_frames = facts.image_format.max_frames
    if 1 + len(facts.other_sizes) > max_frames:
        rule = "max_pages" if facts.image_format is ImageFormat.TIFF else "max_frames"
        raise InvalidFields([FieldProblem(field, rule, {"maximum": max_frames})])
    if sum(size.pixels for size in (facts.size, *facts.other_sizes)) > policy.max_input_pixels:
        raise InvalidFields([FieldProblem(field, "max_pixels", {"maximum": policy.max_input_pixels})])
    return facts


def _model_problems(services: Services, model: str | None) -> list[FieldProblem]:
    """Return an error if the installation does not offer the requested model; None (auto) is no error."""
    choices = services.policy.model_choices
    if model is None or model in choices:
        return []
    return [FieldProblem("model", "offered", {"offered": ", ".join([model_choices.AUTO, *choices])})]


def _sizing_problems(
    services: Services, plan: Plan, sizing: Sizing, originals: Mapping[str, Original]
) -> list[FieldProblem]:
    """Return the errors of the sizing for the files.

    An error that all files have is reported for the sizing field, once for each file. An error of some files
    is reported for those files, as ``unfit`` with the error as the reason.
    """
    found = [
        (field, problem)
        for field, (_, facts) in originals.items()
        for problem in sizing.problems(
            facts.size,
            plan.max_scale,
            services.policy.result_caps.for_format(facts.image_format),
            facts.other_sizes,
        )
    ]
    kinds = [(problem.field, problem.rule) for _, problem in found]
    return [
        problem
        if kinds.count((problem.field, problem.rule)) == len(originals)
        else FieldProblem(field, "unfit", {"because": problem})
        for field, problem in found
    ]
