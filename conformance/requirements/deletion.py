"""Checks of deleted images."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.listings import fetch_all
from conformance.shared_batches import tiny_sample
from conformance.verdicts import expect, expect_absent, expect_contains, expect_equal

if TYPE_CHECKING:
    from conformance.kit import Kit


@dataclass(frozen=True)
class _DeletedImage:
    """A completed image that was listed and could be downloaded before its deletion."""

    id: int
    links: tuple[str, ...]


@check("DEL-001")
def check_deleted_image_is_missing(kit: Kit) -> None:
    """Check that a deleted image can be neither read nor downloaded."""
    path = f"/images/{_deleted_image(kit).id}"
    kit.owner.get(path).expect(404, why="of a deleted image")
    kit.owner.get(f"{path}/download").expect(404, why="of a deleted image")


@check("DEL-002")
def check_second_deletion(kit: Kit) -> None:
    """Check that a second deletion returns 404."""
    kit.owner.delete(f"/images/{_deleted_image(kit).id}").expect(404, why="of a deleted image")


@check("DEL-003")
def check_deleted_image_is_not_listed(kit: Kit) -> None:
    """Check that a deleted image is in neither the list nor the list of completed images."""
    deleted = _deleted_image(kit).id
    expect_absent(_listed_ids(kit), deleted, "The list after the deletion of an image")
    completed = _listed_ids(kit, status="completed")
    expect_absent(completed, deleted, "The list of completed images after the deletion of an image")


@check("DEL-004")
def check_links_stop_working(kit: Kit) -> None:
    """Check that the links to a deleted image return a client error."""
    for link in _deleted_image(kit).links:
        status = kit.transport.follow(link).status
        expect(
            HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR,
            "A link to a deleted image does not return a client error.",
            expected="403, 404 or 410",
            actual=status,
        )


@check("DEL-005")
def check_unfinished_image_can_be_deleted(kit: Kit) -> None:
    """Check that an image can be deleted directly after its upload."""
    for _ in range(2):
        image_id = kit.images.upload(make_sample("png"), {"scale_factor": 4})["id"]
        kit.images.delete(image_id).expect(200, why="of a new image")
        kit.owner.get(f"/images/{image_id}").expect(404, why="of an image that was deleted unfinished")
        expect_absent(_listed_ids(kit), image_id, "The list after the deletion of an unfinished image")


@check("DEL-006")
def check_deleted_image_does_not_reappear(kit: Kit) -> None:
    """Check that an image that was deleted during processing does not reappear."""
    deleted, next_id = _deleted_while_processing(kit)
    kit.images.wait(next_id)
    why = "of an image that was deleted during processing"
    kit.owner.get(f"/images/{deleted}").expect(404, why=why)
    expect_absent(_listed_ids(kit), deleted, "The list after the deletion of an image during processing")


@check("DEL-007")
def check_id_is_not_reused(kit: Kit) -> None:
    """Check that a new image does not get the id of a deleted one."""
    deleted, next_id = _deleted_while_processing(kit)
    expect(
        deleted != next_id,
        "A new image has the id of a deleted one.",
        expected=f"any but {deleted}",
        actual=next_id,
    )


def _deleted_image(kit: Kit) -> _DeletedImage:
    """Return an image that the kit deleted; upload and delete it only once in a run."""
    return kit.once("deleted image", lambda: _complete_and_delete(kit))


def _complete_and_delete(kit: Kit) -> _DeletedImage:
    """Upload, complete and delete an image.

    Raise CheckFailed unless it was completed, its links worked and it was listed before its deletion.
    """
    image, _ = kit.images.wait(kit.images.upload(tiny_sample())["id"])
    expect_equal(image["status"], "completed", "The final status of a valid image")
    download = kit.owner.get(f"/images/{image['id']}/download").expect(200).data["download_url"]
    links = tuple(link for link in (download, image.get("download_url")) if link)
    for link in links:
        kit.transport.follow(link).expect(200, why="for the link of an image before its deletion")
    expect_contains(_listed_ids(kit), image["id"], "The list of images")
    kit.images.delete(image["id"]).expect(200, why="of an own image")
    return _DeletedImage(image["id"], links)


def _deleted_while_processing(kit: Kit) -> tuple[int, int]:
    """Return the id of an image that was deleted during processing, and the id of the next upload."""

    def delete() -> tuple[int, int]:
        """Delete an image once it is no longer pending, and upload another; return the ids of both."""
        deleted = kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"]
        kit.images.poll(deleted, lambda image: image["status"] != "pending")
        kit.images.delete(deleted).expect(200, why="of an image during processing")
        return deleted, kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"]

    return kit.once("image deleted during processing", delete)


def _listed_ids(kit: Kit, **query: object) -> set[int]:
    """Return the ids of all images that the list with this query has."""
    return {image["id"] for image in fetch_all(kit, "/images", **query)}
