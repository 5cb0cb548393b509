"""What becomes of a batch when a part of it is deleted or the rest cancelled, and what it tells of its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.batches import NOT_FOUND, images_of, tiny, watched
from conformance.catalogue import check
from conformance.images.samples import picture
from conformance.kit import BATCH_TERMINAL
from conformance.lists import expect_same_image, listed
from conformance.verdicts import Broken, Inconclusive, expect, expect_equal, undisturbed

if TYPE_CHECKING:
    from conformance.images.samples import Picture
    from conformance.kit import Kit

_SENT = 4  # so that the last one still waits for others when it is deleted
_TO_CANCEL = 8  # so that some are done and some are not


@check("BATCH-017")
def a_batch_ends_without_the_image_that_was_deleted(kit: Kit) -> None:
    accepted = kit.batch([picture("png")] * _SENT)
    *others, last = [image["id"] for image in images_of(accepted)]
    kit.delete_image(last).expect(200, why="of an image of a batch at work")
    ends = [kit.wait(image_id)[0]["status"] for image_id in others]
    end = kit.look_until(f"/batches/{accepted['id']}", lambda batch: batch["status"] in BATCH_TERMINAL)
    if end["status"] not in BATCH_TERMINAL:
        raise Broken(
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
    left = [image["id"] for image in images_of(end)]
    expect_equal(left, others, "The `images` of a batch of which one was deleted at work")


@check("BATCH-018")
def a_batch_tells_of_its_images_what_they_tell_themselves(kit: Kit) -> None:
    batch_id = watched(kit).id

    def look() -> None:
        alone = kit.owner.get(f"/batches/{batch_id}").expect(200).data
        in_list = next((one for one in listed(kit, "/batches") if one["id"] == batch_id), None)
        if in_list is None:
            raise Broken("A batch is not in the list of batches.", expected=batch_id)
        for where, batch in (("a batch", alone), ("the list of batches", in_list)):
            for image in images_of(batch):
                expect_same_image(kit, image, where)

    undisturbed(look)


@check("BATCH-020")
def cancelling_leaves_what_is_completed(kit: Kit) -> None:
    for one in (tiny(), picture("png")):
        if _cancelled_midway(kit, one):
            return


def _cancelled_midway(kit: Kit, one: Picture) -> bool:
    """Whether it was quick enough to cancel a batch of which something was completed, and not all."""
    accepted = kit.batch([one] * _TO_CANCEL)
    path = f"/batches/{accepted['id']}"
    before = kit.look_until(path, lambda batch: bool(_completed(batch)))
    if not _completed(before):
        raise Inconclusive(
            f"No image of a batch is completed after {kit.options.work_timeout:.0f} s. Give the server longer with "
            "--work-timeout."
        )
    kit.owner.delete(path).expect(200, why="of a batch")
    answer = kit.owner.get(path).expect(200, NOT_FOUND, why="after the batch was deleted")
    if answer.status == NOT_FOUND or before["status"] in BATCH_TERMINAL:  # it was done before
        return False
    after, _ = kit.wait_for_batch(accepted["id"])
    for image_id in _completed(before):
        expect(
            image_id in _completed(after),
            "An image that was completed is not any more, after its batch was cancelled.",
            expected=_completed(before),
            actual={image["id"]: image["status"] for image in images_of(after)},
        )
        expect_equal(kit.image(image_id)["status"], "completed", "The status of what was done before that")
    least = len(_completed(before))
    expect(
        after["completed_images"] >= least,
        "`completed_images` goes down when a batch is cancelled.",
        expected=f"at least {least}",
        actual=after["completed_images"],
    )
    kit.file_of(_completed(before)[0])
    return True


def _completed(batch: dict[str, Any]) -> list[int]:
    return [image["id"] for image in images_of(batch) if image["status"] == "completed"]
