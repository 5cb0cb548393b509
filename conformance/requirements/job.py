"""Checks of an image from its upload to its final status."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import ImageOps

from conformance.catalogue import check
from conformance.contract import fields_of_completed
from conformance.images.samples import make_sample, scene
from conformance.images.similarity import expect_same_image, readable_frames
from conformance.timestamps import parse_timestamp
from conformance.verdicts import expect, expect_empty, expect_equal, expect_in

if TYPE_CHECKING:
    from conformance.client import Response
    from conformance.images.samples import Sample
    from conformance.kit import Kit
    from conformance.kit.images import CompletedImage

_ORDER = {"pending": 0, "processing": 1, "completed": 2, "failed": 2}
_RESULT_FIELDS = (
    "upscaled_path", "upscaled_size", "upscaled_size_human", "upscaled_dimensions", "upscaled_dimensions_formatted",
    "processing_time", "download_url",
)  # fmt: skip
_TOLERANCE_SECONDS = 1.0  # timestamps may have no decimals
_UNITS = ("B", "KB", "MB", "GB", "TB")


@check("JOB-001")
def check_upload_fields(kit: Kit) -> None:
    """Check that the 202 has all required fields except `original_dimensions`, and the values sent."""
    done = kit.images.completed_png()
    optional = {"original_dimensions"}
    _expect_fields(done.accepted, "UploadedImage", "The response to an upload", optional)
    _expect_values(kit, done, done.accepted, "in the response to an upload")


@check("JOB-002")
def check_initial_status(kit: Kit) -> None:
    """Check that the response to an upload has the status pending or processing."""
    status = kit.images.completed_png().accepted["status"]
    expect_in(status, {"pending", "processing"}, "The status of a new image")


@check("JOB-003")
def check_status_order(kit: Kit) -> None:
    """Check that the status of three images only moves forward."""
    for statuses in _three_uploads(kit).statuses:
        unknown = [status for status in statuses if status not in _ORDER]
        expect_empty(unknown, f"An image has the status {', '.join(unknown)}.", expected=", ".join(_ORDER))
        ranks = [_ORDER[status] for status in statuses]
        expect(
            ranks == sorted(ranks),
            "The status of an image moves backward.",
            expected="pending, processing, completed or failed, in this order",
            actual=", ".join(statuses),
        )


@check("JOB-004")
def check_completed_image_is_final(kit: Kit) -> None:
    """Check that four fields and the file of a completed image do not change.

    The fields are the status, the size, the dimensions and the processing time, read three times again.
    """
    done = kit.images.completed_png()
    for _ in range(3):
        image = kit.images.get(done.image["id"])
        for field in ("status", "upscaled_size", "upscaled_dimensions", "processing_time"):
            expect_equal(image[field], done.image[field], f"`{field}` of a completed image, read again,")
    content = kit.images.download(done.image["id"]).content
    expect_equal(content, done.content, "The file of a result, downloaded again,")


@check("JOB-005")
def check_completed_fields(kit: Kit) -> None:
    """Check that a completed image has all required fields and the values of its upload.

    The fields of the result, and the path and dimensions of the original, must be neither null nor empty.
    """
    done = kit.images.completed_png()
    _expect_fields(done.image, "ImageDetails", "A completed image")
    _expect_values(kit, done, done.image, "of a completed image")
    for field in (*_RESULT_FIELDS, "original_path", "original_dimensions", "original_dimensions_formatted"):
        value = done.image[field]
        expect(value not in (None, ""), f"`{field}` of a completed image is empty.", actual=value)


@check("JOB-006")
def check_sizes_in_bytes(kit: Kit) -> None:
    """Check that the sizes in bytes match the files, and that both links return the same file."""
    for name in ("png", "bmp"):
        done = kit.images.completed(make_sample(name), {"scale_factor": 2})
        for field, content in (("original_size", done.sample.content), ("upscaled_size", done.content)):
            expect_equal(done.image[field], len(content), f"`{field}` of a {name.upper()}")
    linked = kit.transport.follow(done.image["download_url"])
    linked.expect(200, why="for the image's `download_url`")
    expect(
        linked.content == done.content, "`download_url` of an image returns another file than its download."
    )


@check("JOB-007")
def check_dimensions(kit: Kit) -> None:
    """Check that the dimensions match the images."""
    for name in ("png", "bmp"):
        done = kit.images.completed(make_sample(name), {"scale_factor": 2})
        for kind, (width, height) in (("original", done.sample.image.size), ("upscaled", done.result.size)):
            for suffix, text in (("", f"{width}x{height}"), ("_formatted", f"{width} x {height}")):
                field = f"{kind}_dimensions{suffix}"
                expect_equal(done.image[field], text, f"`{field}` of a {name.upper()}")


@check("JOB-008")
def check_formatted_sizes(kit: Kit) -> None:
    """Check that the formatted sizes match the files."""
    done = kit.images.completed(make_sample("bmp"), {"scale_factor": 2})
    for data in (done.accepted, done.image):
        _expect_formatted(data["original_size_human"], len(done.sample.content), "original_size_human")
    _expect_formatted(done.image["upscaled_size_human"], len(done.content), "upscaled_size_human")


@check("JOB-009")
def check_processing_time(kit: Kit) -> None:
    """Check that the processing time is a number of seconds and not longer than the image exists."""
    for factor in (2, 4):
        image = kit.images.completed(make_sample("png"), {"scale_factor": factor}).image
        seconds = image["processing_time"]
        expect(
            isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0,
            "`processing_time` of a completed image is not a number of seconds.",
            expected="a number from 0",
            actual=seconds,
        )
        created, updated = (
            parse_timestamp(image[field], f"`{field}`") for field in ("created_at", "updated_at")
        )
        exists = (updated - created).total_seconds()
        expect(
            seconds <= exists + _TOLERANCE_SECONDS,
            f"`processing_time` is {seconds}, but `updated_at` is only {exists:.2f} s after `created_at`.",
            expected=f"at most {exists:.2f}",
            actual=seconds,
        )


@check("JOB-010")
def check_unknown_values_are_null(kit: Kit) -> None:
    """Check that the fields of the result are null or absent before the result exists.

    The check passes without a comparison if the image is already completed or failed.
    """
    image = _three_uploads(kit).before_download
    if image["status"] in {"completed", "failed"}:
        return  # the server is too fast for this check
    for field in _RESULT_FIELDS:
        expect_equal(image.get(field), None, f"`{field}` of an image that is {image['status']}")


@check("JOB-011")
def check_early_download(kit: Kit) -> None:
    """Check that the download of an image that is not completed returns 400.

    If the image is completed directly after the request, 200 also passes.
    """
    uploads = _three_uploads(kit)
    if uploads.after_download["status"] != "completed":
        uploads.download.expect(400, why="for an image that is not completed")
    else:
        # The image may have been completed before or after the download.
        uploads.download.expect(200, 400, why="for an image that has just been completed")


@check("JOB-012")
def check_results_are_not_mixed_up(kit: Kit) -> None:
    """Check that each of three images has its own id and its own result."""
    uploads = _three_uploads(kit)
    ids = {image["id"] for image in uploads.finished}
    expect_equal(len(ids), len(uploads.samples), "The number of ids of images that were uploaded together")
    for sample, image in zip(uploads.samples, uploads.finished, strict=True):
        expect_equal(image["status"], "completed", "The final status of one of several valid images")
        what = "The result of one of several images that were uploaded together"
        result = readable_frames(kit.images.download(image["id"]).content, what)[0]
        expect_same_image(sample.image, result, what)


@dataclass(frozen=True)
class _ThreeUploads:
    """Three images that were uploaded together, so that the last one has to wait unless the server is fast.

    ``before_download`` and ``after_download`` are the last one directly before and after the request for its
    download.
    """

    samples: list[Sample]
    before_download: dict[str, Any]
    download: Response
    after_download: dict[str, Any]
    finished: list[dict[str, Any]]
    statuses: list[tuple[str, ...]]  # of each image, in the order seen


def _three_uploads(kit: Kit) -> _ThreeUploads:
    """Return the three uploads; send them only once in a run."""
    return kit.once("three uploads", lambda: _upload_three(kit))


def _upload_three(kit: Kit) -> _ThreeUploads:
    """Upload three images with one file name, request the last one's download at once, and wait for all.

    Return the samples, what was seen before and after the download, the finished images and each image's
    statuses.
    """
    shapes = (scene(), ImageOps.mirror(scene()), ImageOps.flip(scene()))
    # All have one name, so a server that stores files by name loses all but the last.
    samples = [make_sample("png", shape, "one-of-three") for shape in shapes]
    accepted = [kit.images.upload(sample, {"scale_factor": 4}) for sample in samples]
    last = accepted[-1]["id"]
    before_download = kit.images.get(last)
    download = kit.owner.get(f"/images/{last}/download")
    after_download = kit.images.get(last)
    waited = [kit.images.wait(data["id"]) for data in accepted]
    statuses = [(str(data["status"]), *seen) for data, (_, seen) in zip(accepted, waited, strict=True)]
    first, *rest = statuses.pop()
    statuses.append((first, str(before_download["status"]), str(after_download["status"]), *rest))
    finished = [image for image, _ in waited]
    return _ThreeUploads(samples, before_download, download, after_download, finished, statuses)


def _expect_fields(
    data: dict[str, Any], schema_name: str, what: str, optional: frozenset[str] | set[str] = frozenset()
) -> None:
    """Expect all fields that the schema of this name in the contract requires of a completed object.

    Extensions of Uprez and the fields in ``optional`` may be missing; more fields and all values are accepted.
    ``what`` names the object in the error message. Raise CheckFailed with the missing names.
    """
    missing = fields_of_completed(f"/components/schemas/{schema_name}") - optional - set(data)
    expect(not missing, f"{what} lacks fields.", expected=", ".join(sorted(missing)), actual=sorted(data))


def _expect_values(kit: Kit, done: CompletedImage, data: dict[str, Any], where: str) -> None:
    """Raise CheckFailed unless the data has the id, name, size in bytes and factor 2 of the upload.

    `api_request` must be true.
    """
    for field, value in {
        "id": done.accepted["id"],
        "original_filename": kit.images.filename(done.sample),
        "original_size": len(done.sample.content),
        "scale_factor": 2,
        "api_request": True,
    }.items():
        expect_equal(data[field], value, f"`{field}` {where}")


def _expect_formatted(text: object, size: int, field: str) -> None:
    """Raise CheckFailed unless the text is the size in steps of 1024, with any rounding."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) (B|KB|MB|GB|TB)", str(text))
    expect(found, f"`{field}` is {text!r}.", expected="a number and B, KB, MB, GB or TB", actual=text)
    assert found is not None  # or ``expect`` had raised
    unit = 1024 ** _UNITS.index(found[2])
    expect(
        abs(float(found[1]) * unit - size) <= unit / 2,
        f"`{field}` is {text!r} for {size:,} bytes.",
        expected=f"{size / unit:.2f} {found[2]}",
        actual=text,
    )
