"""Checks of the data of a batch and of its images."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.images.samples import decode, detect_format
from conformance.kit.batches import BATCH_TERMINAL
from conformance.listings import expect_same_fields, fetch_all
from conformance.shared_batches import (
    MAX_NAME_LENGTH,
    batch_images,
    named_batches,
    observed_batch,
    tiny_sample,
)
from conformance.verdicts import (
    CheckFailed,
    expect,
    expect_at_least,
    expect_contains,
    expect_count,
    expect_equal,
    expect_in,
    retry,
)

if TYPE_CHECKING:
    from conformance.kit import Kit

COUNTERS = ("total_images", "completed_images", "failed_images", "progress")
STATUS_COUNTERS = (("completed_images", "completed"), ("failed_images", "failed"))
_UNFINISHED = {"pending", "processing"}
# A fast batch may go from the first status directly to a final one.
_ORDER = ("pending", "processing", *sorted(BATCH_TERMINAL))


def count_images(batch: dict[str, Any], status: str) -> int:
    """Return the number of listed images with the status."""
    return sum(image["status"] == status for image in batch_images(batch))


def final_status(failed: int, total: int) -> str:
    """Return the status of a batch whose images are finished and that was not cancelled."""
    return "completed" if not failed else "failed" if failed == total else "partially_failed"


@check("BATCH-001")
def check_accepted_batch(kit: Kit) -> None:
    """Check that the 202 of a batch has all its images in the order sent, and that none is finished."""
    batch = observed_batch(kit)
    accepted = batch.accepted
    expect_in(accepted["status"], _UNFINISHED, "The status of a new batch")
    _expect_counts(accepted)
    expect_equal(accepted["total_images"], len(batch.samples), "`total_images` of a new batch")
    expect_equal(accepted["scale_factor"], 3, "`scale_factor` of a new batch")
    images = batch_images(accepted)
    expect_equal(len(images), len(batch.samples), "The number of `images` of a new batch")
    for image, sample in zip(images, batch.samples, strict=True):
        expect_equal(image["batch_id"], batch.id, "`batch_id` of an image of a new batch")
        name = kit.batches.filename(sample)
        expect_equal(image["original_filename"], name, "`original_filename`, in the order sent,")
        size = len(sample.content)
        expect_equal(image["original_size"], size, "`original_size` of an image of a new batch")
        expect_in(image["status"], _UNFINISHED, "The status of an image of a new batch")


@check("BATCH-002")
def check_counters(kit: Kit) -> None:
    """Check that the counters never decrease and match the statuses of the listed images.

    Images that one response lists as finished must be counted in the next one at the latest.
    """
    batch = observed_batch(kit)
    for data in batch.observations:
        _expect_counts(data)
        total, finished = data["total_images"], data["completed_images"] + data["failed_images"]
        expect_equal(total, len(batch.samples), "`total_images`")
        expect(
            0 <= finished <= total,
            "The counters exceed the number of images.",
            expected=f"at most {total}",
            actual=finished,
        )
    for counter, status in STATUS_COUNTERS:
        for earlier, later in pairwise(batch.observations):
            expect_at_least(later[counter], earlier[counter], f"`{counter}`, which must not decrease,")
            # An image that is listed as finished has to be counted in the next response at the latest.
            listed = count_images(earlier, status)
            expect_at_least(later[counter], listed, f"`{counter}` after {listed} images were {status}")
        expect_equal(batch.end[counter], count_images(batch.end, status), f"`{counter}` at the end")


@check("BATCH-003")
def check_progress(kit: Kit) -> None:
    """Check that the progress is the finished part in percent, rounded down, and never decreases."""
    observations = observed_batch(kit).observations
    for data in observations:
        finished = data["completed_images"] + data["failed_images"]
        percent = 100 * finished // data["total_images"]
        expect_equal(data["progress"], percent, f"`progress` with {finished} finished images")
    for earlier, later in pairwise(observations):
        expect_at_least(later["progress"], earlier["progress"], "`progress`, which must not decrease,")
    expect_equal(observations[-1]["progress"], 100, "`progress` at the end")


@check("BATCH-004")
def check_status_order(kit: Kit) -> None:
    """Check that the statuses move forward, and that the last one follows from the images.

    `completed_at` must be set at the end, and null or absent before.
    """
    batch = observed_batch(kit)
    statuses = [data["status"] for data in batch.observations]
    expect(set(statuses) <= set(_ORDER), "A batch has an unknown status.", expected=_ORDER, actual=statuses)
    for earlier, later in pairwise(statuses):
        forward = earlier not in BATCH_TERMINAL and _ORDER.index(earlier) < _ORDER.index(later)
        expect(earlier == later or forward, f"A batch goes from {earlier} to {later}.", actual=statuses)
    failed, total = count_images(batch.end, "failed"), batch.end["total_images"]
    what = f"The status of a batch with {failed} failed images of {total}"
    expect_equal(batch.end["status"], final_status(failed, total), what)
    completed_at = batch.end["completed_at"]
    expect(completed_at, "`completed_at` of a finished batch is not set.", actual=completed_at)
    for data in batch.observations:
        unset = not data.get("completed_at")
        expect(
            unset or data["status"] in BATCH_TERMINAL,
            "`completed_at` of an unfinished batch is set.",
            actual=data,
        )


@check("BATCH-005")
def check_options_of_all_images(kit: Kit) -> None:
    """Check that each image is completed with 3 times its size and in the format of its original.

    The content of the results is not compared.
    """
    batch = observed_batch(kit)
    for image, sample in zip(batch_images(batch.end), batch.samples, strict=True):
        expect_equal(image["status"], "completed", f"The final status of a valid image ({sample.format})")
        content = kit.images.download(image["id"]).content
        expect_equal(detect_format(content), sample.format, f"The format of the result of {sample.filename}")
        size = tuple(3 * side for side in sample.image.size)
        what = f"The size of the result of {sample.filename} with scale_factor 3"
        expect_equal(_image_size(content), size, what)


@check("BATCH-006")
def check_images_are_available(kit: Kit) -> None:
    """Check that each image of a batch is in the list of images and available by its id."""
    batch = observed_batch(kit)
    listed = sorted(image["id"] for image in fetch_all(kit, "/images"))
    for image in batch_images(batch.end):
        single = kit.images.get(image["id"])
        expect_equal(single["batch_id"], batch.id, "`batch_id` of an image of a batch")
        expect_equal(single["status"], image["status"], "The status of an image of a batch, read by its id,")
        expect_contains(listed, image["id"], "The list of images")


@check("BATCH-007")
def check_names(kit: Kit) -> None:
    """Check that a batch keeps its name of up to 255 characters, or none, and that 256 characters return 422
    on ``name``.
    """
    names = {"short": kit.tag, "none": None, "longest": f"{kit.tag} ".ljust(MAX_NAME_LENGTH, "ü")}
    for which, accepted in named_batches(kit).items():
        for data in (accepted, kit.batches.get(accepted["id"])):
            expect_equal(data.get("name"), names[which], "`name` of a batch")
    response = kit.batches.try_create([tiny_sample()], {"name": "n" * (MAX_NAME_LENGTH + 1)})
    response.expect_rejected("name", why="with a name that is too long")


@check("BATCH-015")
def check_listed_batch(kit: Kit) -> None:
    """Check that the list has a batch once, with the same status, name, counters and image ids as GET
    /batches/{id}.
    """
    batch = observed_batch(kit)
    found = [listed for listed in fetch_all(kit, "/batches") if listed["id"] == batch.id]
    expect_equal(len(found), 1, "The number of entries of one batch in the list")
    for name in ("status", "name", *COUNTERS):
        expect_equal(found[0].get(name), batch.end.get(name), f"`{name}` of a batch in the list")
    listed_ids, ids = ([image["id"] for image in batch_images(data)] for data in (found[0], batch.end))
    expect_equal(listed_ids, ids, "The list of image ids of a batch in the list")


@check("BATCH-018")
def check_image_fields(kit: Kit) -> None:
    """Check that a batch, and the list of batches, have the same image fields as GET /images/{id}."""
    batch_id = observed_batch(kit).id

    def compare() -> None:
        """Compare each image of the batch and of the list of batches with the image itself."""
        single = kit.batches.get(batch_id)
        listed = next((batch for batch in fetch_all(kit, "/batches") if batch["id"] == batch_id), None)
        if listed is None:
            raise CheckFailed("A batch is not in the list of batches.", expected=batch_id)
        for where, batch in (("a batch", single), ("the list of batches", listed)):
            for image in batch_images(batch):
                expect_same_fields(kit, image, where)

    retry(compare)


def _expect_counts(batch: dict[str, Any]) -> None:
    """Fail unless all counters of the batch are integers of at least 0."""
    for counter in COUNTERS:
        expect_count(batch[counter], f"`{counter}`")


def _image_size(content: bytes) -> tuple[int, int]:
    """Return width and height of a result. Fail if it cannot be decoded."""
    try:
        return decode(content).size
    except Exception as reason:
        raise CheckFailed("A downloaded result cannot be read.", actual=content[:40].hex(" ")) from reason
