"""Checks of batches that are cancelled or deleted, completely or in part."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.kit.batches import BATCH_TERMINAL
from conformance.listings import fetch_all
from conformance.requirements.batch import COUNTERS, STATUS_COUNTERS, count_images, final_status
from conformance.shared_batches import (
    MAX_IMAGES,
    batch_images,
    cancelled_batch,
    finished_pair,
    tiny_sample,
)
from conformance.verdicts import (
    CheckFailed,
    Inconclusive,
    expect,
    expect_absent,
    expect_at_least,
    expect_at_most,
    expect_empty,
    expect_equal,
)

if TYPE_CHECKING:
    from conformance.images.samples import Sample
    from conformance.kit import Kit
    from conformance.shared_batches import CancelledBatch

_MAX_SLOWDOWN = 10
_DELETED_FROM = 4  # images, so that the last one still waits for others when it is deleted
_PARTLY_CANCELLED = 8  # images, so that some are completed and some are not


@check("BATCH-011")
def check_cancellation(kit: Kit) -> None:
    """Check that a deletion cancels an unfinished batch, and that its images and counters become final."""
    batch = cancelled_batch(kit)
    batch.deletion.expect(200, why="of an unfinished batch")
    if batch.after is None:
        _expect_fast_server(kit, batch)
        return
    if batch.before["status"] not in BATCH_TERMINAL and batch.after["status"] != "completed":
        stopped, _ = kit.batches.wait(batch.id)
        expect_equal(stopped["status"], "cancelled", "The status of a cancelled batch")
    for image in batch_images(batch.after):
        kit.images.wait(image["id"])
    end = kit.batches.get(batch.id)
    # Images that were processing may still be completed, and pending ones may not.
    most = count_images(batch.after, "completed") + count_images(batch.after, "processing")
    expect_at_most(
        count_images(end, "completed"), most, "The number of completed images of a cancelled batch"
    )
    for counter, status in STATUS_COUNTERS:
        expect_equal(end[counter], count_images(end, status), f"`{counter}` of a cancelled batch")
    counted = end["completed_images"] + end["failed_images"]
    expect_equal(counted, MAX_IMAGES, "The number of counted images of a cancelled batch")
    completed_at = end["completed_at"]
    expect(completed_at, "`completed_at` of a cancelled batch is not set.", actual=completed_at)
    failed = [image["id"] for image in batch_images(end) if image["status"] == "failed"]
    for image_id in failed[:1]:
        kit.owner.get(f"/images/{image_id}/download").expect(400, why="of a failed image")


@check("BATCH-012")
def check_cancelled_batch_can_be_deleted(kit: Kit) -> None:
    """Check that a second deletion deletes a cancelled batch with its images."""
    batch = cancelled_batch(kit)
    if batch.after is not None:
        kit.batches.wait(batch.id)
        kit.owner.delete(f"/batches/{batch.id}").expect(200, why="of a cancelled batch")
    _expect_deleted(kit, batch.id, [image["id"] for image in batch_images(batch.accepted)][:2])


@check("BATCH-013")
def check_deleted_image_stays_counted(kit: Kit) -> None:
    """Check that the deletion of an image removes it from its batch and does not change the counters."""
    batch = finished_pair(kit)
    deleted = batch_images(batch)[0]["id"]
    kit.images.delete(deleted).expect(200, why="of an image of a batch")
    after = kit.batches.get(batch["id"])
    left = [image["id"] for image in batch_images(after)]
    expect_absent(left, deleted, "The `images` of a batch after the deletion of an image")
    for counter in COUNTERS:
        expect_equal(after[counter], batch[counter], f"`{counter}` after the deletion of an image")


@check("BATCH-014")
def check_finished_batch_is_deleted(kit: Kit) -> None:
    """Check that a finished batch is deleted with its images and their links."""
    batch, _ = kit.batches.wait(kit.batches.create([tiny_sample(), tiny_sample()])["id"])
    images = [image["id"] for image in batch_images(batch)]
    link = kit.owner.get(f"/images/{images[0]}/download").expect(200).data["download_url"]
    kit.owner.delete(f"/batches/{batch['id']}").expect(200, why="of a finished batch")
    _expect_deleted(kit, batch["id"], images)
    status = kit.transport.follow(link).status
    expect(
        status >= HTTPStatus.BAD_REQUEST,
        "A link to an image of a deleted batch still works.",
        expected="4xx",
        actual=status,
    )
    left = {image["id"] for image in fetch_all(kit, "/images")} & set(images)
    expect_empty(sorted(left), "Images of a deleted batch are still in the list.", expected=[])


@check("BATCH-017")
def check_batch_with_deleted_image(kit: Kit) -> None:
    """Check that a batch finishes without an image that was deleted before it was finished."""
    accepted = kit.batches.create([make_sample("png")] * _DELETED_FROM)
    *others, last = [image["id"] for image in batch_images(accepted)]
    kit.images.delete(last).expect(200, why="of an image of an unfinished batch")
    statuses = [kit.images.wait(image_id)[0]["status"] for image_id in others]
    end = kit.batches.poll(accepted["id"], lambda batch: batch["status"] in BATCH_TERMINAL)
    if end["status"] not in BATCH_TERMINAL:
        raise CheckFailed(
            f"A batch with a deleted image is still {end['status']!r} {kit.options.work_timeout:.0f} s after its last "
            "image was finished.",
            expected=sorted(BATCH_TERMINAL),
            actual=end["status"],
        )
    completed, failed, total = end["completed_images"], end["failed_images"], end["total_images"]
    what = "of a batch with a deleted image"
    expect_equal(total, _DELETED_FROM, f"`total_images` {what}")
    expect_equal(completed + failed, _DELETED_FROM, f"The number of counted images {what}")
    for counter, status in STATUS_COUNTERS:
        expect_at_least(end[counter], statuses.count(status), f"`{counter}` {what}")
    expect_equal(end["progress"], 100, "`progress` of a finished batch")
    wanted = final_status(failed, _DELETED_FROM)
    expect_equal(end["status"], wanted, f"The status of a batch with {failed} failed images of {total}")
    expect_equal([image["id"] for image in batch_images(end)], others, f"The list of image ids {what}")


@check("BATCH-020")
def check_completed_images_survive(kit: Kit) -> None:
    """Check that images that are completed before a cancellation remain completed."""
    for sample in (tiny_sample(), make_sample("png")):
        if _cancel_partly_completed(kit, sample):
            return


def _cancel_partly_completed(kit: Kit, sample: Sample) -> bool:
    """Check a cancelled batch of this sample. Return False if the batch was finished before its cancellation."""
    batch_id = kit.batches.create([sample] * _PARTLY_CANCELLED)["id"]
    path = f"/batches/{batch_id}"
    before = kit.batches.poll(batch_id, lambda batch: bool(_completed_ids(batch)))
    completed = _completed_ids(before)
    if not completed:
        raise Inconclusive(
            f"No image of a batch is completed after {kit.options.work_timeout:.0f} s. Increase --work-timeout."
        )
    kit.owner.delete(path).expect(200, why="of a batch")
    response = kit.owner.get(path).expect(200, 404, why="after the deletion of the batch")
    if response.status == HTTPStatus.NOT_FOUND or before["status"] in BATCH_TERMINAL:
        return False
    after, _ = kit.batches.wait(batch_id)
    for image_id in completed:
        expect(
            image_id in _completed_ids(after),
            "A completed image is not completed after the cancellation of its batch.",
            expected=completed,
            actual={image["id"]: image["status"] for image in batch_images(after)},
        )
        status = kit.images.get(image_id)["status"]
        expect_equal(status, "completed", "The status of a completed image after the cancellation")
    expect_at_least(after["completed_images"], len(completed), "`completed_images` after the cancellation")
    kit.images.download(completed[0])
    return True


def _completed_ids(batch: dict[str, Any]) -> list[int]:
    """Return the ids of the batch's completed images."""
    return [image["id"] for image in batch_images(batch) if image["status"] == "completed"]


def _expect_fast_server(kit: Kit, batch: CancelledBatch) -> None:
    """Raise CheckFailed unless the server is so fast that the batch can have been finished before its
    deletion.
    """
    again = kit.batches.create([batch.sample] * MAX_IMAGES)
    began = time.monotonic()
    kit.batches.wait(again["id"])
    seconds = time.monotonic() - began
    expect(
        seconds < _MAX_SLOWDOWN * batch.seconds,
        f"A batch was deleted instead of cancelled {batch.seconds:.2f} s after its 202, although such a batch needs "
        f"{seconds:.1f} s.",
        expected="status cancelled",
        actual=404,
    )


def _expect_deleted(kit: Kit, batch_id: int, image_ids: list[int]) -> None:
    """Raise CheckFailed unless GET and DELETE of the batch, and GET of each image, return 404."""
    path = f"/batches/{batch_id}"
    kit.owner.get(path).expect(404, why="after the deletion of the batch")
    kit.owner.delete(path).expect(404, why="after the deletion of the batch")
    for image_id in image_ids:
        kit.owner.get(f"/images/{image_id}").expect(404, why="after the deletion of its batch")
