"""Is a deleted image gone from everywhere?"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.listings import fetch_all
from conformance.shared_batches import tiny_sample
from conformance.verdicts import expect, expect_equal

if TYPE_CHECKING:
    from conformance.kit import Kit


@dataclass(frozen=True)
class Deleted:
    """An image that was completed, in the list and to be fetched until it was deleted."""

    id: int
    links: tuple[str, ...]


def deleted(kit: Kit) -> Deleted:
    def delete() -> Deleted:
        image, _ = kit.images.wait(kit.images.upload(tiny_sample())["id"])
        expect_equal(image["status"], "completed", "The status of a good picture at its end")
        given = kit.owner.get(f"/images/{image['id']}/download").expect(200).data["download_url"]
        links = tuple(link for link in (given, image.get("download_url")) if link)
        for link in links:
            kit.transport.follow(link).expect(200, why="for the link of an image that is not deleted yet")
        expect(image["id"] in _ids(kit), "An image is not in the list.", expected=image["id"])
        kit.images.delete(image["id"]).expect(200, why="of an own image")
        return Deleted(image["id"], links)

    return kit.once("deleted image", delete)


@check("DEL-001")
def a_deleted_image_is_gone_from_its_address(kit: Kit) -> None:
    path = f"/images/{deleted(kit).id}"
    kit.owner.get(path).expect(404, why="of a deleted image")
    kit.owner.get(f"{path}/download").expect(404, why="of a deleted image")


@check("DEL-002")
def a_second_deletion_finds_nothing(kit: Kit) -> None:
    kit.owner.delete(f"/images/{deleted(kit).id}").expect(404, why="of a deleted image")


@check("DEL-003")
def a_deleted_image_is_gone_from_the_list(kit: Kit) -> None:
    gone = deleted(kit).id
    expect(
        gone not in _ids(kit),
        "A deleted image is still in the list.",
        expected=f"without {gone}",
        actual=gone,
    )
    completed = _ids(kit, status="completed")
    expect(gone not in completed, "A deleted image is still in the list of those completed.", actual=gone)


@check("DEL-004")
def links_to_a_deleted_image_are_dead(kit: Kit) -> None:
    for link in deleted(kit).links:
        status = kit.transport.follow(link).status
        expect(
            HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR,
            "The file of a deleted image can still be fetched with a link given out before.",
            expected="403, 404 or 410",
            actual=status,
        )


@check("DEL-005")
def an_image_at_work_can_be_deleted(kit: Kit) -> None:
    for _ in range(2):
        image_id = kit.images.upload(make_sample("png"), {"scale_factor": 4})["id"]
        kit.images.delete(image_id).expect(200, why="of an image that was just sent")
        kit.owner.get(f"/images/{image_id}").expect(404, why="of an image that was deleted at work")
        expect(
            image_id not in _ids(kit),
            "An image that was deleted at work is still in the list.",
            actual=image_id,
        )


@check("DEL-006")
def what_was_deleted_at_work_does_not_come_back(kit: Kit) -> None:
    gone, later = deleted_at_work(kit)
    kit.images.wait(later)
    kit.owner.get(f"/images/{gone}").expect(
        404, why="of an image that was deleted at work, when work went on"
    )
    expect(gone not in _ids(kit), "An image that was deleted at work is in the list again.", actual=gone)


@check("DEL-007")
def the_id_of_a_deleted_image_is_not_given_again(kit: Kit) -> None:
    gone, later = deleted_at_work(kit)
    expect(
        gone != later,
        "An image has the id of one that was deleted before.",
        expected=f"any but {gone}",
        actual=later,
    )


def deleted_at_work(kit: Kit) -> tuple[int, int]:
    """The id of an image that was deleted as soon as it was begun, and that of one sent next."""

    def delete() -> tuple[int, int]:
        gone = kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"]
        kit.images.poll(gone, lambda image: image["status"] != "pending")
        kit.images.delete(gone).expect(200, why="of an image at work")
        return gone, kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"]

    return kit.once("image deleted at work", delete)


def _ids(kit: Kit, **query: object) -> set[int]:
    return {image["id"] for image in fetch_all(kit, "/images", **query)}
