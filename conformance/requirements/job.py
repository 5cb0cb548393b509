"""What becomes of an image that was sent, and what is told of it meanwhile."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import ImageOps

from conformance.catalogue import check
from conformance.contract import resolve
from conformance.images.samples import make_sample, scene
from conformance.images.similarity import expect_same_image, readable_frames
from conformance.timestamps import parse_timestamp
from conformance.verdicts import expect, expect_equal

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
_SLACK_SECONDS = 1.0  # times may have no decimals
_UNITS = ("B", "KB", "MB", "GB", "TB")


@check("JOB-001")
def an_upload_is_answered_with_all_fields(kit: Kit) -> None:
    done = kit.images.completed_png()
    _expect_fields(
        done.accepted, "UploadedImage", "The answer to an upload", may_lack={"original_dimensions"}
    )
    _expect_values(kit, done, done.accepted, "in the answer to an upload")


@check("JOB-002")
def an_upload_waits_or_is_worked_on(kit: Kit) -> None:
    status = kit.images.completed_png().accepted["status"]
    expect(
        status in {"pending", "processing"},
        f"An image that was just accepted is {status!r}.",
        expected="pending or processing",
        actual=status,
    )


@check("JOB-003")
def the_status_only_moves_forward(kit: Kit) -> None:
    for statuses in _together(kit).statuses:
        unknown = [status for status in statuses if status not in _ORDER]
        expect(
            not unknown,
            f"An image has the status {', '.join(unknown)}.",
            expected=", ".join(_ORDER),
            actual=", ".join(statuses),
        )
        ranks = [_ORDER[status] for status in statuses]
        expect(
            ranks == sorted(ranks),
            "The status of an image goes backwards.",
            expected="pending, processing, completed or failed, in this order",
            actual=", ".join(statuses),
        )


@check("JOB-004")
def a_final_status_stays(kit: Kit) -> None:
    done = kit.images.completed_png()
    for _ in range(3):
        again = kit.images.get(done.image["id"])
        for field in ("status", "upscaled_size", "upscaled_dimensions", "processing_time"):
            expect_equal(
                again[field], done.image[field], f"`{field}` of a completed image, asked for once more,"
            )
    expect_equal(
        kit.images.download(done.image["id"]).content,
        done.content,
        "The file of a result, fetched once more,",
    )


@check("JOB-005")
def a_completed_image_has_all_fields(kit: Kit) -> None:
    done = kit.images.completed_png()
    _expect_fields(done.image, "Image", "A completed image", may_lack=set())
    _expect_values(kit, done, done.image, "of a completed image")
    for field in (*_RESULT_FIELDS, "original_path", "original_dimensions", "original_dimensions_formatted"):
        expect(
            done.image[field] not in {None, ""},
            f"`{field}` of a completed image is empty.",
            actual=done.image[field],
        )


@check("JOB-006")
def the_told_sizes_are_those_of_the_files(kit: Kit) -> None:
    for name in ("png", "bmp"):
        done = kit.images.completed(make_sample(name), {"scale_factor": 2})
        expect_equal(
            done.image["original_size"], len(done.sample.content), f"`original_size` of a {name.upper()}"
        )
        expect_equal(done.image["upscaled_size"], len(done.content), f"`upscaled_size` of a {name.upper()}")
    fetched = kit.transport.follow(done.image["download_url"]).expect(
        200, why="for the image's `download_url`"
    )
    expect(
        fetched.content == done.content, "`download_url` of an image leads to another file than its download."
    )


@check("JOB-007")
def the_told_dimensions_are_those_of_the_pictures(kit: Kit) -> None:
    for name in ("png", "bmp"):
        done = kit.images.completed(make_sample(name), {"scale_factor": 2})
        for kind, size in (("original", done.sample.image.size), ("upscaled", done.result.size)):
            for field, between in ((f"{kind}_dimensions", "x"), (f"{kind}_dimensions_formatted", " x ")):
                expect_equal(
                    done.image[field], f"{size[0]}{between}{size[1]}", f"`{field}` of a {name.upper()}"
                )


@check("JOB-008")
def sizes_for_people_say_the_same(kit: Kit) -> None:
    done = kit.images.completed(make_sample("bmp"), {"scale_factor": 2})
    for data in (done.accepted, done.image):
        _expect_human(data["original_size_human"], len(done.sample.content), "original_size_human")
    _expect_human(done.image["upscaled_size_human"], len(done.content), "upscaled_size_human")


@check("JOB-009")
def the_processing_time_is_in_seconds(kit: Kit) -> None:
    for factor in (2, 4):
        image = kit.images.completed(make_sample("png"), {"scale_factor": factor}).image
        seconds = image["processing_time"]
        expect(
            isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0,
            "`processing_time` of a completed image is no number of seconds.",
            expected="a number from 0",
            actual=seconds,
        )
        between = _seconds_between(image["created_at"], image["updated_at"])
        expect(
            seconds <= between + _SLACK_SECONDS,
            f"`processing_time` is {seconds}, and only {between:.2f} seconds lie between `created_at` and `updated_at`.",
            expected=f"at most {between:.2f}",
            actual=seconds,
        )


@check("JOB-010")
def what_is_not_known_yet_is_null(kit: Kit) -> None:
    image = _together(kit).caught
    if image["status"] in {"completed", "failed"}:
        return  # too quick to be caught
    for field in _RESULT_FIELDS:
        expect(
            image.get(field) is None,
            f"`{field}` of an image that is {image['status']} is not null.",
            expected=None,
            actual=image.get(field),
        )


@check("JOB-011")
def an_unfinished_image_cannot_be_downloaded(kit: Kit) -> None:
    together = _together(kit)
    if together.caught_later["status"] != "completed":
        together.download.expect(400, why="for an image that is not completed")
    else:
        # It may have been completed before or after the question.
        together.download.expect(200, 400, why="for an image that is just being completed")


@check("JOB-012")
def each_of_several_ends_with_its_own_result(kit: Kit) -> None:
    together = _together(kit)
    ids = {image["id"] for image in together.ends}
    expect_equal(len(ids), len(together.originals), "The number of ids of images that were sent at once")
    for original, image in zip(together.originals, together.ends, strict=True):
        expect_equal(image["status"], "completed", "What a good picture ends as, among others sent at once,")
        what = "The result of one of several pictures that were sent at once"
        result = readable_frames(kit.images.download(image["id"]).content, what)[0]
        expect_same_image(original.image, result, what)


@dataclass(frozen=True)
class _Together:
    """Three pictures that were sent at once: the last one can be seen waiting, unless the server is too quick.

    ``caught`` is this one before its download was asked for, ``caught_later`` afterwards.
    """

    originals: list[Sample]
    caught: dict[str, Any]
    download: Response
    caught_later: dict[str, Any]
    ends: list[dict[str, Any]]
    statuses: list[tuple[str, ...]]  # of each, those seen, in order


def _together(kit: Kit) -> _Together:
    return kit.once("three pictures sent at once", lambda: _sent_together(kit))


def _sent_together(kit: Kit) -> _Together:
    shapes = (scene(), ImageOps.mirror(scene()), ImageOps.flip(scene()))
    # All under one name: a server that stores them by it loses all but the last.
    originals = [make_sample("png", shape, "one-of-three") for shape in shapes]
    sent = [kit.images.upload(original, {"scale_factor": 4}) for original in originals]
    last = sent[-1]["id"]
    caught = kit.images.get(last)
    download = kit.owner.get(f"/images/{last}/download")
    caught_later = kit.images.get(last)
    waited = [kit.images.wait(accepted["id"]) for accepted in sent]
    statuses = [(str(accepted["status"]), *seen) for accepted, (_, seen) in zip(sent, waited, strict=True)]
    first, *seen_last = statuses.pop()
    statuses.append((first, str(caught["status"]), str(caught_later["status"]), *seen_last))
    return _Together(
        originals,
        caught,
        download,
        caught_later,
        [image for image, _ in waited],
        statuses,
    )


def _expect_fields(data: dict[str, Any], schema: str, what: str, may_lack: set[str]) -> None:
    """Those that the contract asks for."""
    asked = resolve(f"/components/schemas/{schema}")
    ours = {name for name, field in asked["properties"].items() if field.get("x-uprez-extension")}
    missing = set(asked["required"]) - ours - may_lack - set(data)
    expect(not missing, f"{what} lacks fields.", expected=", ".join(sorted(missing)), actual=sorted(data))


def _expect_values(kit: Kit, done: CompletedImage, data: dict[str, Any], where: str) -> None:
    for field, value in {
        "id": done.accepted["id"],
        "original_filename": kit.images.filename(done.sample),
        "original_size": len(done.sample.content),
        "scale_factor": 2,
        "api_request": True,
    }.items():
        expect_equal(data[field], value, f"`{field}` {where}")


def _expect_human(text: object, size: int, field: str) -> None:
    """In steps of 1024, rounded anyhow: the rounding is everybody's own."""
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


def _seconds_between(earlier: object, later: object) -> float:
    """Raises Broken for what is no time."""
    return (parse_timestamp(later, "`updated_at`") - parse_timestamp(earlier, "`created_at`")).total_seconds()
