"""Is a batch its images: counted rightly, sized alike, all or nothing, cancelled and deleted as one?"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from conformance.batches import (
    LONGEST_NAME,
    MOST,
    crowd,
    images_of,
    labelled,
    pair,
    tiny,
    watched,
)
from conformance.catalogue import check
from conformance.images.samples import Picture, format_of, opened, picture, scene
from conformance.kit import BATCH_TERMINAL
from conformance.lists import listed
from conformance.requirements import batch_changed, batch_sent  # noqa: F401  # the rest of this family
from conformance.verdicts import Broken, expect, expect_equal, undisturbed

if TYPE_CHECKING:
    from conformance.batches import Crowd
    from conformance.kit import Kit


COUNTERS = ("total_images", "completed_images", "failed_images", "progress")
_MUCH_LONGER = 10
# A batch may go from the first to the last without being seen in between.
ORDER = ("pending", "processing", *sorted(BATCH_TERMINAL))


@check("BATCH-001")
def a_batch_is_accepted_with_its_images(kit: Kit) -> None:
    batch = watched(kit)
    accepted = batch.accepted
    expect(
        accepted["status"] in {"pending", "processing"},
        "A new batch is not to be done.",
        actual=accepted["status"],
    )
    _are_numbers(accepted)
    expect_equal(accepted["total_images"], len(batch.pictures), "`total_images` of a new batch")
    expect_equal(accepted["scale_factor"], 3, "`scale_factor` of a new batch")
    images = images_of(accepted)
    expect_equal(len(images), len(batch.pictures), "The number of `images` of a new batch")
    for image, one in zip(images, batch.pictures, strict=True):
        expect_equal(image["batch_id"], batch.id, "`batch_id` of an image of a new batch")
        expect_equal(image["original_filename"], kit.filename(one), "`original_filename`, in the order sent,")
        expect_equal(image["original_size"], len(one.content), "`original_size` of an image of a new batch")
        expect(
            image["status"] in {"pending", "processing"},
            "An image of a new batch does not wait for its turn.",
            expected="pending",
            actual=image["status"],
        )


@check("BATCH-002")
def the_counters_are_those_of_the_images(kit: Kit) -> None:
    looks = watched(kit).looks
    for look in looks:
        _are_numbers(look)
        finished = look["completed_images"] + look["failed_images"]
        expect_equal(look["total_images"], len(watched(kit).pictures), "`total_images`")
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
    looks = watched(kit).looks
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
    looks = watched(kit).looks
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
    batch = watched(kit)
    for image, one in zip(images_of(batch.end), batch.pictures, strict=True):
        expect(image["status"] == "completed", f"A good picture ({one.format}) ends {image['status']!r}.")
        content = kit.file_of(image["id"]).content
        expect_equal(format_of(content), one.format, f"The format of the result of {one.filename}")
        size = tuple(3 * side for side in one.image.size)
        expect_equal(_size(content), size, f"The size of the result of {one.filename} with scale_factor 3")


@check("BATCH-006")
def each_image_of_a_batch_stands_by_itself(kit: Kit) -> None:
    batch = watched(kit)
    in_list = {image["id"]: image for image in listed(kit, "/images")}
    for image in images_of(batch.end):
        alone = kit.image(image["id"])
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
    for which, accepted in labelled(kit).items():
        later = kit.owner.get(f"/batches/{accepted['id']}").expect(200).data
        name = {"short": kit.tag, "none": None, "longest": f"{kit.tag} ".ljust(LONGEST_NAME, "ü")}[which]
        for told in (accepted, later):
            expect_equal(told.get("name"), name, "`name` of a batch")
    answer = kit.try_batch([tiny()], {"name": "n" * (LONGEST_NAME + 1)}).expect(
        422, why="with a name too long"
    )
    expect(
        "name" in answer.errors, "A name too long is not refused under `name`.", actual=sorted(answer.errors)
    )


@check("BATCH-008")
def twenty_pictures_are_a_batch_and_no_more(kit: Kit) -> None:
    twenty = crowd(kit).accepted
    expect_equal(twenty["total_images"], MOST, "`total_images` of a batch of twenty")
    expect_equal(len(images_of(twenty)), MOST, "The number of `images` of a batch of twenty")
    one_more = kit.try_batch([tiny()] * (MOST + 1)).expect(422, why="with 21 pictures")
    none = kit.owner.post("/batches", files={"name": (None, kit.tag)}).expect(422, why="without a picture")
    for answer in (one_more, none):
        expect("images" in answer.errors, "The error is not under `images`.", actual=sorted(answer.errors))


@check("BATCH-009")
def one_bad_file_refuses_all(kit: Kit) -> None:
    labelled(kit)  # where batches are forbidden, it is said here
    name = f"{kit.tag}-refused"
    good = tiny().named(f"{name}.png")
    bad = Picture(f"{name}-bad.png", "png", b"This is no picture.", good.image)

    def look() -> None:
        used = _used(kit)
        errors = kit.try_batch([good, bad], {"name": name}).expect(422, why="with a bad file").errors
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

    undisturbed(look)
    stored = [
        image["original_filename"] for image in listed(kit, "/images") if name in image["original_filename"]
    ]
    expect(not stored, "Images of a batch that was refused are in the list.", expected=[], actual=stored)
    batches = [batch["id"] for batch in listed(kit, "/batches") if batch.get("name") == name]
    expect(not batches, "A batch that was refused is in the list.", expected=[], actual=batches)


@check("BATCH-010")
def a_sizing_is_refused_where_it_does_not_go(kit: Kit) -> None:
    labelled(kit)
    pictures = [picture("png", scene(12, 9)), picture("png", scene(24, 18))]
    for width, field, why in (
        (20, "images.1", "only the second is too large for"),
        (10, "target_width", "none goes with"),
    ):
        errors = (
            kit.try_batch(pictures, {"target_width": width})
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
    batch = crowd(kit)
    batch.deletion.expect(200, why="of a batch at work")
    if batch.after is None:
        _was_finished(kit, batch)
        return
    if batch.before["status"] not in BATCH_TERMINAL and batch.after["status"] != "completed":
        stopped, _ = kit.wait_for_batch(batch.id)
        expect_equal(stopped["status"], "cancelled", "The status of a batch that was cancelled")
    for image in images_of(batch.after):
        kit.wait(image["id"])
    end = kit.owner.get(f"/batches/{batch.id}").expect(200).data
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
        end["completed_images"] + end["failed_images"], MOST, "All counted images of a cancelled batch"
    )
    expect(end["completed_at"], "`completed_at` of a cancelled batch is not set.", actual=end["completed_at"])
    failed = [image["id"] for image in images_of(end) if image["status"] == "failed"]
    for image_id in failed[:1]:
        kit.owner.get(f"/images/{image_id}/download").expect(400, why="of a failed image")


@check("BATCH-012")
def a_cancelled_batch_can_be_deleted(kit: Kit) -> None:
    batch = crowd(kit)
    if batch.after is not None:
        kit.wait_for_batch(batch.id)
        kit.owner.delete(f"/batches/{batch.id}").expect(200, why="of a cancelled batch")
    _is_gone(kit, batch.id, [image["id"] for image in images_of(batch.accepted)][:2])


@check("BATCH-013")
def an_image_that_is_deleted_stays_counted(kit: Kit) -> None:
    batch = pair(kit)
    path = f"/batches/{batch['id']}"
    first = images_of(batch)[0]["id"]
    kit.delete_image(first).expect(200, why="of an image of a batch")
    after = kit.owner.get(path).expect(200).data
    expect(
        first not in [image["id"] for image in images_of(after)],
        "A deleted image is still among the `images` of its batch.",
        actual=[image["id"] for image in images_of(after)],
    )
    for counter in COUNTERS:
        expect_equal(after[counter], batch[counter], f"`{counter}` after an image was deleted")


@check("BATCH-014")
def a_batch_at_its_end_is_deleted_with_its_images(kit: Kit) -> None:
    accepted = kit.batch([tiny(), tiny()])
    batch, _ = kit.wait_for_batch(accepted["id"])
    images = [image["id"] for image in images_of(batch)]
    link = kit.owner.get(f"/images/{images[0]}/download").expect(200).data["download_url"]
    kit.owner.delete(f"/batches/{batch['id']}").expect(200, why="of a batch at its end")
    _is_gone(kit, batch["id"], images)
    status = kit.transport.follow(link).status
    expect(status >= 400, "The file of a deleted batch can still be fetched.", expected="4xx", actual=status)  # noqa: PLR2004
    left = {image["id"] for image in listed(kit, "/images")} & set(images)
    expect(not left, "Images of a deleted batch are still in the list.", expected=[], actual=sorted(left))


@check("BATCH-015")
def the_list_shows_batches_with_their_images(kit: Kit) -> None:
    batch = watched(kit)
    found = [one for one in listed(kit, "/batches") if one["id"] == batch.id]
    expect_equal(len(found), 1, "How often a batch stands in the list")
    for name in ("status", "name", *COUNTERS):
        expect_equal(found[0].get(name), batch.end.get(name), f"`{name}` of a batch in the list")
    expect_equal(
        [image["id"] for image in images_of(found[0])],
        [image["id"] for image in images_of(batch.end)],
        "The images of a batch in the list",
    )


def _are_numbers(batch: dict[str, Any]) -> None:
    for counter in COUNTERS:
        if type(batch[counter]) is not int:
            raise Broken(f"`{counter}` is no whole number.", actual=batch[counter])


def _having(batch: dict[str, Any], status: str) -> int:
    return sum(image["status"] == status for image in images_of(batch))


def _size(content: bytes) -> tuple[int, int]:
    try:
        return opened(content).size
    except Exception as reason:
        raise Broken("A downloaded result cannot be read.", actual=content[:40].hex(" ")) from reason


def _used(kit: Kit) -> object:
    return kit.owner.get("/usage").expect(200).data["image_uploads"]["used"]


def _was_finished(kit: Kit, batch: Crowd) -> None:
    """A quick server has finished a batch before its deletion comes, which then deletes it: is this one so quick?"""
    again = kit.batch([batch.picture] * MOST)
    began = time.monotonic()
    kit.wait_for_batch(again["id"])
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
