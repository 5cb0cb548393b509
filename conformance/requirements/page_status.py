"""Checks of the status filter of both lists, and of the fields of listed images."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.kit.images import TERMINAL
from conformance.listings import (
    BATCHES,
    IMAGES,
    MAX_PAGES,
    MAX_PER_PAGE,
    PAGES_WANTED,
    expect_same_fields,
    fetch_all,
    fetch_page,
    five_images,
    follow_page_link,
    page_items,
)
from conformance.shared_batches import cancelled_batch, named_batches, observed_batch
from conformance.verdicts import (
    CheckFailed,
    Inconclusive,
    expect,
    expect_contains,
    expect_empty,
    expect_equal,
    retry,
)

if TYPE_CHECKING:
    from conformance.kit import Kit

_STATUSES = {
    IMAGES: ("pending", "processing", "completed", "failed"),
    BATCHES: ("pending", "processing", "completed", "partially_failed", "failed", "cancelled"),
}
_PER_PAGE = 2
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 5.0
_ATTEMPTS = 4


@check("PAGE-006")
def check_image_status_filter(kit: Kit) -> None:
    """Check that each status filter of the image list has only images with that status, and that a completed
    one is found. A status that does not exist must return 422 on ``status``.
    """
    _expect_exact_filter(kit, IMAGES, "completed", kit.images.completed_png().image["id"])


@check("PAGE-013")
def check_batch_status_filter(kit: Kit) -> None:
    """Check that each status filter of the batch list has only batches with that status, and that a finished
    one is found. A status that does not exist must return 422 on ``status``.
    """
    batch = observed_batch(kit)
    _expect_exact_filter(kit, BATCHES, str(batch.end["status"]), batch.id)


@check("PAGE-016")
def check_pending_images_are_not_processing(kit: Kit) -> None:
    """Check that after four uploads the list of processing images has no pending image."""
    for _ in range(4):
        kit.images.upload(make_sample("png"), {"scale_factor": 4})
    items = page_items(fetch_page(kit, IMAGES, status="processing", per_page=100))
    # An image may move forward after the server has selected it, but not backward.
    pending = [image["id"] for image in items if image["status"] == "pending"]
    expect_empty(pending, "/images?status=processing has pending images.")


@check("PAGE-018")
def check_listed_fields(kit: Kit) -> None:
    """Check that the list has the same fields of an image as GET /images/{id}."""
    image_id = kit.images.completed_png().image["id"]

    def compare() -> None:
        """Compare the image in the list with the image itself."""
        listed = next((image for image in fetch_all(kit, IMAGES) if image["id"] == image_id), None)
        if listed is None:
            raise CheckFailed("An image is not in the list of images.", expected=image_id)
        expect_same_fields(kit, listed, "the list of images")

    retry(compare)


@check("PAGE-019")
def check_pages_of_completed_images(kit: Kit) -> None:
    """Check that the pages of completed images are full, disjoint and complete."""
    completed = [kit.images.completed_png().image["id"], *five_images(kit)[:_PER_PAGE]]
    for image_id in completed:
        expect_equal(kit.images.wait(image_id)[0]["status"], "completed", "The final status of a valid image")
    newest = kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"]
    # The newest image is not completed yet, so it must not reduce the number of images on this page.
    page = page_items(fetch_page(kit, IMAGES, status="completed", per_page=_PER_PAGE))
    what = f"The number of images with status=completed&per_page={_PER_PAGE}, of at least {len(completed)},"
    expect_equal(len(page), _PER_PAGE, what)
    kit.images.wait(newest)
    _expect_complete_pages(kit, IMAGES, completed)


@check("PAGE-020")
def check_pages_of_completed_batches(kit: Kit) -> None:
    """Check that the pages of completed batches are disjoint and complete."""
    completed = [batch["id"] for batch in named_batches(kit).values()]
    for batch_id in completed:
        expect_equal(kit.batches.wait(batch_id)[0]["status"], "completed", "The final status of a batch")
    _expect_complete_pages(kit, BATCHES, completed)


@check("PAGE-021")
def check_unfinished_images_are_found(kit: Kit) -> None:
    """Check that three new images are in the lists of pending and of processing images while they have that
    status. A status that is not seen before all have ended, or before the time limit, is not checked.
    """
    uploads = [kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"] for _ in range(3)]
    deadline = time.monotonic() + kit.options.work_timeout
    pause = _FIRST_PAUSE_SECONDS
    unchecked = {"pending", "processing"}
    while unchecked and time.monotonic() < deadline:
        statuses = {str(kit.images.get(image_id)["status"]) for image_id in uploads}
        if statuses <= TERMINAL:
            return
        for status in sorted(unchecked & statuses):
            if retry(partial(_expect_found, kit, uploads, status)):
                unchecked.remove(status)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


@check("PAGE-022")
def check_cancelled_batch_is_found(kit: Kit) -> None:
    """Check that a cancelled batch is in the list of cancelled batches.

    Pass if it was finished before its cancellation.
    """
    batch = cancelled_batch(kit)
    if batch.after is None or kit.batches.wait(batch.id)[0]["status"] != "cancelled":
        return  # it was finished before its cancellation

    def search() -> None:
        """Fail unless the list of cancelled batches has the cancelled batch."""
        found = [one["id"] for one in fetch_all(kit, BATCHES, status="cancelled")]
        expect_contains(found, batch.id, "The list of cancelled batches")

    retry(search)


@check("PAGE-024")
def check_no_image_filter(kit: Kit) -> None:
    """Check that the image list has an image of the kit with status=all, as it has it without a status."""
    image_id = kit.images.completed_png().image["id"]
    found = [image["id"] for image in fetch_all(kit, IMAGES, status="all")]
    expect_contains(found, image_id, f"{IMAGES}?status=all")


@check("PAGE-025")
def check_no_batch_filter(kit: Kit) -> None:
    """Check that the batch list has a batch of the kit with status=all, as it has it without a status."""
    batch_id = observed_batch(kit).id
    found = [batch["id"] for batch in fetch_all(kit, BATCHES, status="all")]
    expect_contains(found, batch_id, f"{BATCHES}?status=all")


def _expect_exact_filter(kit: Kit, path: str, status: str, item_id: int) -> None:
    """Raise CheckFailed unless the filter is exact; the item must have this status, and it must be final."""

    def compare() -> None:
        """Fail if a filtered list has an item with another status, or lacks the expected item."""
        for wanted in _STATUSES[path]:
            others = [item for item in fetch_all(kit, path, status=wanted) if item["status"] != wanted]
            expect(
                not others,
                f"{path}?status={wanted} has items with another status.",
                expected=wanted,
                actual=sorted({str(item["status"]) for item in others}),
            )
        found = [item["id"] for item in fetch_all(kit, path, status=status)]
        expect_contains(found, item_id, f"{path}?status={status}")

    retry(compare)
    response = kit.owner.get(path, params={"status": "uploaded"})
    response.expect_rejected("status", why="with status=uploaded")


def _expect_found(kit: Kit, image_ids: list[int], status: str) -> bool:
    """Raise CheckFailed unless all images with the status are listed; return whether there was one.

    A status only moves forward, so an image that has it before and after the request also had it in between.
    """
    before = [image_id for image_id in image_ids if kit.images.get(image_id)["status"] == status]
    if not before:
        return False
    found = {image["id"] for image in fetch_all(kit, IMAGES, status=status)}
    after = [image_id for image_id in before if kit.images.get(image_id)["status"] == status]
    expect(
        set(after) <= found,
        f"/images?status={status} lacks images with this status.",
        expected=after,
        actual=sorted(found),
    )
    return bool(after)


def _expect_complete_pages(kit: Kit, path: str, completed: list[int]) -> None:
    """Raise CheckFailed unless the pages of completed items are correct; repeat it if the list changes.

    Raise Inconclusive if it changes in every one of ``_ATTEMPTS`` attempts.
    """
    for attempt in range(_ATTEMPTS):
        if retry(lambda: _compare_pages(kit, path, completed)):
            return
        time.sleep(attempt)
    raise Inconclusive(
        f"Another client uses the account: the number of {path[1:]} changed during the check. Repeat the run."
    )


def _compare_pages(kit: Kit, path: str, completed: list[int]) -> bool:
    """Check the pages of completed items, which do not fit on one page.

    Return False if the list changed, else True. Raise CheckFailed for an item of another status, on two pages
    or on none, and for a wrong ``prev`` of page 2.
    """
    filtered = f"{path}?status=completed"
    total = fetch_page(kit, path, status="completed", per_page=1)["meta"]["total"]
    per_page = min(MAX_PER_PAGE, max(_PER_PAGE, math.ceil(total / PAGES_WANTED)))
    pages = [fetch_page(kit, path, status="completed", per_page=per_page)]
    while pages[-1]["links"]["next"] is not None and len(pages) < MAX_PAGES:
        pages.append(_follow(kit, path, pages[-1], "next", per_page))
    back = _follow(kit, path, pages[1], "prev", per_page) if len(pages) > 1 else pages[0]
    for page in [*pages, back]:
        statuses = [item["status"] for item in page_items(page)]
        expect(
            all(status == "completed" for status in statuses),
            f"A page of {filtered} has items with another status.",
            expected="completed",
            actual=statuses,
        )
    if any(page["meta"]["total"] != total for page in [*pages, back]):
        return False
    seen = [item["id"] for page in pages for item in page_items(page)]
    twice = sorted({item for item in seen if seen.count(item) > 1})
    expect_empty(twice, f"Items are on two pages of {filtered}.", expected="each once")
    if pages[-1]["links"]["next"] is None:
        expect_equal(len(seen), total, f"The number of items on all pages of {filtered}")
        missing = sorted(set(completed) - set(seen))
        expect_empty(missing, f"Items are on no page of {filtered}.", expected=completed)
    first, again = ([item["id"] for item in page_items(page)] for page in (pages[0], back))
    expect_equal(again, first, f"The page at `prev` of page 2 of {filtered}")
    return True


def _follow(kit: Kit, path: str, page: dict[str, Any], name: str, per_page: int) -> dict[str, Any]:
    """Return the page at the link ``next`` or ``prev``.

    Raise CheckFailed if it is wrong or lacks a parameter.
    """
    link = page["links"][name]
    query = parse_qs(urlsplit(str(link)).query)
    for field, value in (("status", "completed"), ("per_page", str(per_page))):
        expect_equal(query.get(field), [value], f"`{field}` in the link `{name}` of {path}?status=completed")
    target = follow_page_link(kit, path, link)
    number = page["meta"]["current_page"] + (1 if name == "next" else -1)
    what = f"The number of the page at `{name}` of {path}?status=completed"
    expect_equal(target["meta"]["current_page"], number, what)
    return target
