"""Is a batch its images: counted rightly, sized alike, all or nothing, cancelled and deleted as one?"""

from __future__ import annotations

import time
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.images.samples import Sample, decode, detect_format, make_sample, scene
from conformance.kit.batches import BATCH_TERMINAL
from conformance.listings import fetch_all
from conformance.shared_batches import (
    MAX_IMAGES,
    MAX_NAME_LENGTH,
    batch_images,
    cancelled_batch,
    finished_pair,
    named_batches,
    observed_batch,
    tiny_sample,
)
from conformance.verdicts import CheckFailed, expect, expect_equal, retry

if TYPE_CHECKING:
    from conformance.kit import Kit
    from conformance.shared_batches import CancelledBatch


COUNTERS = ("total_images", "completed_images", "failed_images", "progress")
_MUCH_LONGER = 10
# A batch may go from the first to the last without being seen in between.
ORDER = ("pending", "processing", *sorted(BATCH_TERMINAL))


@check("BATCH-001")
def a_batch_is_accepted_with_its_images(kit: Kit) -> None:
    batch = observed_batch(kit)
    accepted = batch.accepted
    expect(
        accepted["status"] in {"pending", "processing"},
        "A new batch is not to be done.",
        actual=accepted["status"],
    )
    _are_numbers(accepted)
    expect_equal(accepted["total_images"], len(batch.samples), "`total_images` of a new batch")
    expect_equal(accepted["scale_factor"], 3, "`scale_factor` of a new batch")
    images = batch_images(accepted)
    expect_equal(len(images), len(batch.samples), "The number of `images` of a new batch")
    for image, one in zip(images, batch.samples, strict=True):
        expect_equal(image["batch_id"], batch.id, "`batch_id` of an image of a new batch")
        expect_equal(
            image["original_filename"], kit.images.filename(one), "`original_filename`, in the order sent,"
        )
        expect_equal(image["original_size"], len(one.content), "`original_size` of an image of a new batch")
        expect(
            image["status"] in {"pending", "processing"},
            "An image of a new batch does not wait for its turn.",
            expected="pending",
            actual=image["status"],
        )


@check("BATCH-002")
def the_counters_are_those_of_the_images(kit: Kit) -> None:
    looks = observed_batch(kit).observations
    for look in looks:
        _are_numbers(look)
        finished = look["completed_images"] + look["failed_images"]
        expect_equal(look["total_images"], len(observed_batch(kit).samples), "`total_images`")
        expect(
            0 <= finished <= look["total_images"],
            "More images are finished than there are.",
            expected=f"at most {look['total_images']}",
            actual=finished,
        )
    for counter, status in (("completed_images", "completed"), ("failed_images", "failed")):
        for earlier, later in pairwise(looks):
            expect(
                earlier[counter] <= later[counter],
                f"`{counter}` goes down.",
                expected=f"at least {earlier[counter]}",
                actual=later[counter],
            )
            # What a look shows among the images has to be counted at the latest in the next one.
            expect(
                _having(earlier, status) <= later[counter],
                f"`{counter}` leaves out images that are {status}.",
                expected=f"at least {_having(earlier, status)}",
                actual=later[counter],
            )
        expect_equal(looks[-1][counter], _having(looks[-1], status), f"`{counter}` at the end")


@check("BATCH-003")
def progress_is_the_finished_part_rounded_down_and_only_grows(kit: Kit) -> None:
    looks = observed_batch(kit).observations
    for look in looks:
        finished = look["completed_images"] + look["failed_images"]
        expect_equal(
            look["progress"], 100 * finished // look["total_images"], f"`progress` with {finished} finished"
        )
    for earlier, later in pairwise(looks):
        expect(
            earlier["progress"] <= later["progress"],
            "`progress` goes down.",
            expected=f"at least {earlier['progress']}",
            actual=later["progress"],
        )
    expect_equal(looks[-1]["progress"], 100, "`progress` at the end")


@check("BATCH-004")
def a_batch_comes_to_the_end_that_its_images_came_to(kit: Kit) -> None:
    looks = observed_batch(kit).observations
    statuses = [look["status"] for look in looks]
    expect(set(statuses) <= set(ORDER), "A batch has a status that is none.", expected=ORDER, actual=statuses)
    for earlier, later in pairwise(statuses):
        expect(
            earlier == later or (earlier not in BATCH_TERMINAL and ORDER.index(earlier) < ORDER.index(later)),
            f"A batch goes from {earlier} to {later}.",
            actual=statuses,
        )
    end = looks[-1]
    failed = _having(end, "failed")
    wanted = "completed" if not failed else "failed" if failed == end["total_images"] else "partially_failed"
    expect_equal(
        end["status"], wanted, f"The status of a batch with {failed} failed images of {end['total_images']}"
    )
    expect(
        end["completed_at"], "`completed_at` of a batch at its end is not set.", actual=end["completed_at"]
    )
    for look in looks:
        if look["status"] not in BATCH_TERMINAL:
            expect(not look.get("completed_at"), "`completed_at` is set before the end.", actual=look)


@check("BATCH-005")
def the_sizing_holds_for_each_picture(kit: Kit) -> None:
    batch = observed_batch(kit)
    for image, one in zip(batch_images(batch.end), batch.samples, strict=True):
        expect(image["status"] == "completed", f"A good picture ({one.format}) ends {image['status']!r}.")
        content = kit.images.download(image["id"]).content
        expect_equal(detect_format(content), one.format, f"The format of the result of {one.filename}")
        size = tuple(3 * side for side in one.image.size)
        expect_equal(_size(content), size, f"The size of the result of {one.filename} with scale_factor 3")


@check("BATCH-006")
def each_image_of_a_batch_stands_by_itself(kit: Kit) -> None:
    batch = observed_batch(kit)
    in_list = {image["id"]: image for image in fetch_all(kit, "/images")}
    for image in batch_images(batch.end):
        alone = kit.images.get(image["id"])
        expect_equal(alone["batch_id"], batch.id, "`batch_id` of an image of a batch")
        expect_equal(
            alone["status"], image["status"], "The status of an image of a batch, asked for by itself,"
        )
        expect(
            image["id"] in in_list,
            "An image of a batch is not in the list of images.",
            actual=sorted(in_list),
        )


@check("BATCH-007")
def a_batch_has_the_name_it_was_given(kit: Kit) -> None:
    for which, accepted in named_batches(kit).items():
        later = kit.batches.get(accepted["id"])
        name = {"short": kit.tag, "none": None, "longest": f"{kit.tag} ".ljust(MAX_NAME_LENGTH, "ü")}[which]
        for told in (accepted, later):
            expect_equal(told.get("name"), name, "`name` of a batch")
    response = kit.batches.try_create([tiny_sample()], {"name": "n" * (MAX_NAME_LENGTH + 1)}).expect(
        422, why="with a name too long"
    )
    expect(
        "name" in response.errors,
        "A name too long is not refused under `name`.",
        actual=sorted(response.errors),
    )


@check("BATCH-008")
def twenty_pictures_are_a_batch_and_no_more(kit: Kit) -> None:
    twenty = cancelled_batch(kit).accepted
    expect_equal(twenty["total_images"], MAX_IMAGES, "`total_images` of a batch of twenty")
    expect_equal(len(batch_images(twenty)), MAX_IMAGES, "The number of `images` of a batch of twenty")
    one_more = kit.batches.try_create([tiny_sample()] * (MAX_IMAGES + 1)).expect(422, why="with 21 pictures")
    none = kit.owner.post("/batches", files={"name": (None, kit.tag)}).expect(422, why="without a picture")
    for response in (one_more, none):
        expect(
            "images" in response.errors, "The error is not under `images`.", actual=sorted(response.errors)
        )


@check("BATCH-009")
def one_bad_file_refuses_all(kit: Kit) -> None:
    named_batches(kit)  # where batches are forbidden, it is said here
    name = f"{kit.tag}-refused"
    good = tiny_sample().renamed(f"{name}.png")
    bad = Sample(f"{name}-bad.png", "png", b"This is no picture.", good.image)

    def look() -> None:
        used = _used(kit)
        errors = kit.batches.try_create([good, bad], {"name": name}).expect(422, why="with a bad file").errors
        expect(
            "images.1" in errors, "The second file is not named.", expected="images.1", actual=sorted(errors)
        )
        expect(
            "images.0" not in errors,
            "The good file is refused too.",
            expected="images.1",
            actual=sorted(errors),
        )
        expect_equal(_used(kit), used, "`used` of the quota after a batch that was refused")

    retry(look)
    stored = [
        image["original_filename"]
        for image in fetch_all(kit, "/images")
        if name in image["original_filename"]
    ]
    expect(not stored, "Images of a batch that was refused are in the list.", expected=[], actual=stored)
    batches = [batch["id"] for batch in fetch_all(kit, "/batches") if batch.get("name") == name]
    expect(not batches, "A batch that was refused is in the list.", expected=[], actual=batches)


@check("BATCH-010")
def a_sizing_is_refused_where_it_does_not_go(kit: Kit) -> None:
    named_batches(kit)
    pictures = [make_sample("png", scene(12, 9)), make_sample("png", scene(24, 18))]
    for width, field, why in (
        (20, "images.1", "only the second is too large for"),
        (10, "target_width", "none goes with"),
    ):
        errors = (
            kit.batches.try_create(pictures, {"target_width": width})
            .expect(422, why=f"with a target that {why}")
            .errors
        )
        expect(
            field in errors,
            f"A target that {why} is not refused there.",
            expected=field,
            actual=sorted(errors),
        )


@check("BATCH-011")
def a_batch_at_work_can_be_cancelled(kit: Kit) -> None:
    batch = cancelled_batch(kit)
    batch.deletion.expect(200, why="of a batch at work")
    if batch.after is None:
        _was_finished(kit, batch)
        return
    if batch.before["status"] not in BATCH_TERMINAL and batch.after["status"] != "completed":
        stopped, _ = kit.batches.wait(batch.id)
        expect_equal(stopped["status"], "cancelled", "The status of a batch that was cancelled")
    for image in batch_images(batch.after):
        kit.images.wait(image["id"])
    end = kit.batches.get(batch.id)
    # What was in hand may still have been finished, what was waiting may not.
    most = _having(batch.after, "completed") + _having(batch.after, "processing")
    expect(
        _having(end, "completed") <= most,
        "Images of a batch that was cancelled are worked on as if nothing had happened.",
        expected=f"at most {most} completed",
        actual=_having(end, "completed"),
    )
    for counter, status in (("completed_images", "completed"), ("failed_images", "failed")):
        expect_equal(end[counter], _having(end, status), f"`{counter}` of a batch that was cancelled")
    expect_equal(
        end["completed_images"] + end["failed_images"], MAX_IMAGES, "All counted images of a cancelled batch"
    )
    expect(end["completed_at"], "`completed_at` of a cancelled batch is not set.", actual=end["completed_at"])
    failed = [image["id"] for image in batch_images(end) if image["status"] == "failed"]
    for image_id in failed[:1]:
        kit.owner.get(f"/images/{image_id}/download").expect(400, why="of a failed image")


@check("BATCH-012")
def a_cancelled_batch_can_be_deleted(kit: Kit) -> None:
    batch = cancelled_batch(kit)
    if batch.after is not None:
        kit.batches.wait(batch.id)
        kit.owner.delete(f"/batches/{batch.id}").expect(200, why="of a cancelled batch")
    _is_gone(kit, batch.id, [image["id"] for image in batch_images(batch.accepted)][:2])


@check("BATCH-013")
def an_image_that_is_deleted_stays_counted(kit: Kit) -> None:
    batch = finished_pair(kit)
    path = f"/batches/{batch['id']}"
    first = batch_images(batch)[0]["id"]
    kit.images.delete(first).expect(200, why="of an image of a batch")
    after = kit.owner.get(path).expect(200).data
    expect(
        first not in [image["id"] for image in batch_images(after)],
        "A deleted image is still among the `images` of its batch.",
        actual=[image["id"] for image in batch_images(after)],
    )
    for counter in COUNTERS:
        expect_equal(after[counter], batch[counter], f"`{counter}` after an image was deleted")


@check("BATCH-014")
def a_batch_at_its_end_is_deleted_with_its_images(kit: Kit) -> None:
    accepted = kit.batches.create([tiny_sample(), tiny_sample()])
    batch, _ = kit.batches.wait(accepted["id"])
    images = [image["id"] for image in batch_images(batch)]
    link = kit.owner.get(f"/images/{images[0]}/download").expect(200).data["download_url"]
    kit.owner.delete(f"/batches/{batch['id']}").expect(200, why="of a batch at its end")
    _is_gone(kit, batch["id"], images)
    status = kit.transport.follow(link).status
    expect(
        status >= HTTPStatus.BAD_REQUEST,
        "The file of a deleted batch can still be fetched.",
        expected="4xx",
        actual=status,
    )
    left = {image["id"] for image in fetch_all(kit, "/images")} & set(images)
    expect(not left, "Images of a deleted batch are still in the list.", expected=[], actual=sorted(left))


@check("BATCH-015")
def the_list_shows_batches_with_their_images(kit: Kit) -> None:
    batch = observed_batch(kit)
    found = [one for one in fetch_all(kit, "/batches") if one["id"] == batch.id]
    expect_equal(len(found), 1, "How often a batch stands in the list")
    for name in ("status", "name", *COUNTERS):
        expect_equal(found[0].get(name), batch.end.get(name), f"`{name}` of a batch in the list")
    expect_equal(
        [image["id"] for image in batch_images(found[0])],
        [image["id"] for image in batch_images(batch.end)],
        "The images of a batch in the list",
    )


def _are_numbers(batch: dict[str, Any]) -> None:
    for counter in COUNTERS:
        if type(batch[counter]) is not int:
            raise CheckFailed(f"`{counter}` is no whole number.", actual=batch[counter])


def _having(batch: dict[str, Any], status: str) -> int:
    return sum(image["status"] == status for image in batch_images(batch))


def _size(content: bytes) -> tuple[int, int]:
    try:
        return decode(content).size
    except Exception as reason:
        raise CheckFailed("A downloaded result cannot be read.", actual=content[:40].hex(" ")) from reason


def _used(kit: Kit) -> object:
    return kit.owner.get("/usage").expect(200).data["image_uploads"]["used"]


def _was_finished(kit: Kit, batch: CancelledBatch) -> None:
    """A quick server has finished a batch before its deletion comes, which then deletes it: is this one so quick?"""
    again = kit.batches.create([batch.sample] * MAX_IMAGES)
    began = time.monotonic()
    kit.batches.wait(again["id"])
    seconds = time.monotonic() - began
    expect(
        seconds < _MUCH_LONGER * batch.seconds,
        f"A batch is gone after it was cancelled, {batch.seconds:.2f} s after it was accepted, although such a batch "
        f"needs {seconds:.1f} s.",
        expected="status cancelled",
        actual=404,
    )


def _is_gone(kit: Kit, batch_id: int, image_ids: list[int]) -> None:
    path = f"/batches/{batch_id}"
    kit.owner.get(path).expect(404, why="after the batch was deleted")
    kit.owner.delete(path).expect(404, why="after the batch was deleted")
    for image_id in image_ids:
        kit.owner.get(f"/images/{image_id}").expect(404, why="after its batch was deleted")
