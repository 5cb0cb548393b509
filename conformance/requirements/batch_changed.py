"""What becomes of a batch when a part of it is deleted or the rest cancelled, and what it tells of its images."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.kit.batches import BATCH_TERMINAL
from conformance.listings import expect_same_fields, fetch_all
from conformance.shared_batches import batch_images, observed_batch, tiny_sample
from conformance.verdicts import CheckFailed, Inconclusive, expect, expect_equal, retry

if TYPE_CHECKING:
    from conformance.images.samples import Sample
    from conformance.kit import Kit

_SENT = 4  # so that the last one still waits for others when it is deleted
_TO_CANCEL = 8  # so that some are done and some are not


@check("BATCH-017")
def a_batch_ends_without_the_image_that_was_deleted(kit: Kit) -> None:
    accepted = kit.batches.create([make_sample("png")] * _SENT)
    *others, last = [image["id"] for image in batch_images(accepted)]
    kit.images.delete(last).expect(200, why="of an image of a batch at work")
    ends = [kit.images.wait(image_id)[0]["status"] for image_id in others]
    end = kit.batches.poll(accepted["id"], lambda batch: batch["status"] in BATCH_TERMINAL)
    if end["status"] not in BATCH_TERMINAL:
        raise CheckFailed(
            f"A batch is still {end['status']!r} {kit.options.work_timeout:.0f} s after its last image was finished: "
            "another one had been deleted.",
            expected=sorted(BATCH_TERMINAL),
            actual=end["status"],
        )
    completed, failed = end["completed_images"], end["failed_images"]
    expect_equal(end["total_images"], _SENT, "`total_images` of a batch of which one was deleted at work")
    expect_equal(completed + failed, _SENT, "All counted images of a batch of which one was deleted at work")
    for counter, status in (("completed_images", "completed"), ("failed_images", "failed")):
        least = ends.count(status)
        expect(end[counter] >= least, f"`{counter}` leaves out images.", expected=least, actual=end[counter])
    expect_equal(end["progress"], 100, "`progress` of a batch at its end")
    wanted = "completed" if not failed else "failed" if failed == _SENT else "partially_failed"
    expect_equal(
        end["status"], wanted, f"The status of a batch with {failed} failed images of {end['total_images']}"
    )
    left = [image["id"] for image in batch_images(end)]
    expect_equal(left, others, "The `images` of a batch of which one was deleted at work")


@check("BATCH-018")
def a_batch_tells_of_its_images_what_they_tell_themselves(kit: Kit) -> None:
    batch_id = observed_batch(kit).id

    def look() -> None:
        alone = kit.batches.get(batch_id)
        in_list = next((one for one in fetch_all(kit, "/batches") if one["id"] == batch_id), None)
        if in_list is None:
            raise CheckFailed("A batch is not in the list of batches.", expected=batch_id)
        for where, batch in (("a batch", alone), ("the list of batches", in_list)):
            for image in batch_images(batch):
                expect_same_fields(kit, image, where)

    retry(look)


@check("BATCH-020")
def cancelling_leaves_what_is_completed(kit: Kit) -> None:
    for one in (tiny_sample(), make_sample("png")):
        if _cancelled_midway(kit, one):
            return


def _cancelled_midway(kit: Kit, one: Sample) -> bool:
    """Whether it was quick enough to cancel a batch of which something was completed, and not all."""
    accepted = kit.batches.create([one] * _TO_CANCEL)
    path = f"/batches/{accepted['id']}"
    before = kit.batches.poll(accepted["id"], lambda batch: bool(_completed(batch)))
    if not _completed(before):
        raise Inconclusive(
            f"No image of a batch is completed after {kit.options.work_timeout:.0f} s. Give the server longer with "
            "--work-timeout."
        )
    kit.owner.delete(path).expect(200, why="of a batch")
    response = kit.owner.get(path).expect(200, 404, why="after the batch was deleted")
    if response.status == HTTPStatus.NOT_FOUND or before["status"] in BATCH_TERMINAL:  # it was done before
        return False
    after, _ = kit.batches.wait(accepted["id"])
    for image_id in _completed(before):
        expect(
            image_id in _completed(after),
            "An image that was completed is not any more, after its batch was cancelled.",
            expected=_completed(before),
            actual={image["id"]: image["status"] for image in batch_images(after)},
        )
        expect_equal(
            kit.images.get(image_id)["status"], "completed", "The status of what was done before that"
        )
    least = len(_completed(before))
    expect(
        after["completed_images"] >= least,
        "`completed_images` goes down when a batch is cancelled.",
        expected=f"at least {least}",
        actual=after["completed_images"],
    )
    kit.images.download(_completed(before)[0])
    return True


def _completed(batch: dict[str, Any]) -> list[int]:
    return [image["id"] for image in batch_images(batch) if image["status"] == "completed"]
