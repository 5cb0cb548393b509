"""Checks of the pages, parameters, links and numbers of both lists."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.listings import (
    BATCHES,
    IMAGES,
    MAX_PAGES,
    MAX_PER_PAGE,
    PAGES_WANTED,
    fetch_all,
    fetch_page,
    five_images,
    follow_page_link,
    page_items,
)
from conformance.shared_batches import named_batches, observed_batch
from conformance.timestamps import has_microseconds, parse_timestamp
from conformance.verdicts import expect, expect_at_most, expect_empty, expect_equal, retry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from conformance.kit import Kit

_DEFAULT_PER_PAGE = 15


@check("PAGE-001")
def check_image_pages(kit: Kit) -> None:
    """Check that the pages of the image list have each image once, five created ones among them, and the same
    total.
    """
    created = five_images(kit)
    retry(lambda: _expect_each_once(kit, IMAGES, created))


@check("PAGE-002")
def check_image_order(kit: Kit) -> None:
    """Check that the image list is sorted by ``created_at``, the newest first, and five created images by
    their creation.
    """
    created = five_images(kit)
    retry(lambda: _expect_newest_first(kit, IMAGES, created))


@check("PAGE-003")
def check_invalid_image_pages(kit: Kit) -> None:
    """Check that invalid values of ``page`` and ``per_page`` of the image list return 422 with an error on
    the parameter.
    """
    values = {"page": ("0", "-1", "abc", "1.5"), "per_page": ("0", "101", "-1", "abc")}
    _expect_values_rejected(kit, IMAGES, values)


@check("PAGE-023")
def check_page_notation(kit: Kit) -> None:
    """Check that ``page`` and ``per_page`` with anything but decimal digits return 422 with an error on the
    parameter.
    """
    values = ("+1", "1_0", "1 ", "1.0", "1e1", "\uff11")  # the last one is a fullwidth digit
    _expect_values_rejected(kit, IMAGES, {"page": values, "per_page": values})


@check("PAGE-004")
def check_page_sizes(kit: Kit) -> None:
    """Check that a page has 15 images by default, and up to 100 on request."""
    five_images(kit)

    def compare() -> None:
        """Compare ``meta`` and the number of items of the default page and of one with the largest
        ``per_page``.
        """
        default = fetch_page(kit, IMAGES)
        expect_equal(default["meta"]["per_page"], _DEFAULT_PER_PAGE, "`meta.per_page` without `per_page`")
        expect_equal(default["meta"]["current_page"], 1, "`meta.current_page` without `page`")
        total = default["meta"]["total"]
        expect_equal(
            len(page_items(default)), min(_DEFAULT_PER_PAGE, total), "The number of images on a page"
        )
        largest = fetch_page(kit, IMAGES, per_page=MAX_PER_PAGE)
        expect_equal(largest["meta"]["per_page"], MAX_PER_PAGE, "`meta.per_page` with per_page=100")
        number = len(page_items(largest))
        expect_equal(number, min(MAX_PER_PAGE, total), "The number of images with per_page=100")

    retry(compare)


@check("PAGE-005")
def check_page_after_last(kit: Kit) -> None:
    """Check that a page of the image list after the last one is empty, has its own number and links back to
    the last.
    """
    five_images(kit)
    retry(lambda: _expect_empty_page_after_last(kit, IMAGES))


@check("PAGE-007")
def check_links(kit: Kit) -> None:
    """Check that each link of the image list leads to its page with the same parameters, or is null without
    such a page.
    """
    five_images(kit)
    retry(lambda: _expect_correct_links(kit, IMAGES))


@check("PAGE-008")
def check_repeated_parameters(kit: Kit) -> None:
    """Check that ``page``, ``per_page`` and ``status`` of the image list return 422 if they are sent twice."""
    _expect_repetition_rejected(kit, IMAGES)


@check("PAGE-009")
def check_unknown_parameter(kit: Kit) -> None:
    """Check that the image list with an unknown parameter returns the requested page."""
    five_images(kit)
    page = fetch_page(kit, IMAGES, per_page=2, uprez_conformance="unknown")
    expect_equal(page["meta"]["per_page"], 2, "`meta.per_page` with an unknown parameter")
    expect_equal(len(page_items(page)), 2, "The number of images with an unknown parameter")


@check("PAGE-010")
def check_numbers(kit: Kit) -> None:
    """Check that page number, page size, last page and number of images of several pages fit the total of the
    image list.
    """
    five_images(kit)
    retry(lambda: _expect_consistent_numbers(kit, IMAGES))


@check("PAGE-011")
def check_batch_pages(kit: Kit) -> None:
    """Check that the pages of the batch list are disjoint, complete and newest first."""
    created = [batch["id"] for batch in named_batches(kit).values()]
    retry(lambda: _expect_each_once(kit, BATCHES, created))
    retry(lambda: _expect_newest_first(kit, BATCHES, created))


@check("PAGE-012")
def check_invalid_batch_pages(kit: Kit) -> None:
    """Check that invalid and repeated parameters of the batch list return 422 with an error on the parameter.

    Raise Inconclusive if the plan has no batches.
    """
    named_batches(kit)  # inconclusive if the plan has no batches
    values = {"page": ("0", "abc"), "per_page": ("0", "101", "abc"), "status": ("uploaded",)}
    _expect_values_rejected(kit, BATCHES, values)
    _expect_repetition_rejected(kit, BATCHES)


@check("PAGE-014")
def check_batch_links_and_numbers(kit: Kit) -> None:
    """Check that the links and numbers of the batch list are correct, and that a page after the last one is
    empty.
    """
    named_batches(kit)
    retry(lambda: _expect_correct_links(kit, BATCHES))
    retry(lambda: _expect_consistent_numbers(kit, BATCHES))
    retry(lambda: _expect_empty_page_after_last(kit, BATCHES))


@check("PAGE-015")
def check_order_of_one_instant(kit: Kit) -> None:
    """Check that images with the same `created_at` are ordered by descending id."""
    batch_id = observed_batch(kit).id

    def compare() -> None:
        """Fail if of two images of the batch with the same ``created_at`` the smaller id comes first.

        Times without microseconds are not compared.
        """
        images = [image for image in fetch_all(kit, IMAGES) if image.get("batch_id") == batch_id]
        for newer, older in pairwise(images):
            # Times in seconds do not show the order of the server.
            if has_microseconds(newer["created_at"]) and newer["created_at"] == older["created_at"]:
                expect(
                    newer["id"] > older["id"],
                    f"Of two images of the same instant, {newer['id']} comes before {older['id']}.",
                    expected="the larger id first",
                    actual=[image["id"] for image in images],
                )

    retry(compare)


@check("PAGE-017")
def check_no_image_is_missing(kit: Kit) -> None:
    """Check that the list has every image that the run created and did not delete."""
    five_images(kit)

    def compare() -> None:
        """Fail if the list lacks an image that this run has uploaded and not deleted."""
        listed = {item["id"] for item in fetch_all(kit, IMAGES)}
        missing = sorted(kit.images.uploaded_ids - listed)
        expect_empty(missing, "The list lacks images that were created and not deleted.")

    retry(compare)


def _expect_each_once(kit: Kit, path: str, created: list[int]) -> None:
    """Raise CheckFailed unless the pages contain each item once, among them the created ones."""
    total = fetch_page(kit, path, per_page=1)["meta"]["total"]
    per_page = min(MAX_PER_PAGE, max(2, math.ceil(total / PAGES_WANTED)))
    seen: list[int] = []
    complete = False
    for number in range(1, MAX_PAGES + 1):
        page = fetch_page(kit, path, page=number, per_page=per_page)
        items = page_items(page)
        expect_at_most(
            len(items), per_page, f"The number of items on a page of {path} with per_page={per_page}"
        )
        seen += [item["id"] for item in items]
        complete = len(items) < per_page or number >= page["meta"]["last_page"]
        if complete:
            break
    twice = sorted({item for item in seen if seen.count(item) > 1})
    expect_empty(twice, f"Items are on two pages of {path}: {twice[:5]}.", expected="each once")
    missing = sorted(set(created) - set(seen))
    expect(
        not missing,
        f"Items are on no page of {path}: {missing}.",
        expected=created,
        actual=seen[:MAX_PER_PAGE],
    )
    if complete:
        expect_equal(len(seen), total, f"The number of items on all pages of {path}")
    what = f"`meta.total` of {path} with per_page={per_page}, compared with per_page=1,"
    expect_equal(page["meta"]["total"], total, what)


def _expect_newest_first(kit: Kit, path: str, created: list[int]) -> None:
    """Raise CheckFailed unless the list is newest first, and the created items in the order of their
    creation.
    """
    items = fetch_all(kit, path)
    for newer, older in pairwise(items):
        expect(
            _created_at(newer) >= _created_at(older),
            f"{path} has {newer['id']} of {newer['created_at']} before {older['id']} of {older['created_at']}.",
            expected="the newest first",
            actual=[item["created_at"] for item in (newer, older)],
        )
    times = {item["id"]: _created_at(item) for item in items}
    listed = [item["id"] for item in items if item["id"] in created]
    for newer_id, older_id in pairwise(listed):
        expect(
            created.index(newer_id) > created.index(older_id) or times[newer_id] == times[older_id],
            f"{path} has {newer_id} before {older_id}, which was created after it.",
            expected=created[::-1],
            actual=listed,
        )


def _created_at(item: dict[str, Any]) -> datetime:
    """Return the item's ``created_at``. Fail if it is not an RFC 3339 time with a zone."""
    return parse_timestamp(item["created_at"], "`created_at`")


def _expect_values_rejected(kit: Kit, path: str, values: Mapping[str, tuple[str, ...]]) -> None:
    """Raise CheckFailed unless each value of each parameter alone returns 422 with an error on the parameter."""
    for name, invalid in values.items():
        for value in invalid:
            response = kit.owner.get(path, params={name: value})
            response.expect_rejected(name, why=f"with {name}={value}")


def _expect_repetition_rejected(kit: Kit, path: str) -> None:
    """Raise CheckFailed unless `page`, `per_page` and `status` are each rejected (422) if sent twice."""
    for name, values in {"page": (1, 2), "per_page": (2, 3), "status": ("completed", "failed")}.items():
        response = kit.owner.get(path, params=[(name, value) for value in values])
        response.expect_rejected(name, why=f"with {name} twice")


def _expect_empty_page_after_last(kit: Kit, path: str) -> None:
    """Fail unless a page far after the last one has empty ``data``, its own number, no ``next``, and the last
    page as ``prev``.
    """
    last_page = fetch_page(kit, path, per_page=2)["meta"]["last_page"]
    number = last_page + 1000
    page = fetch_page(kit, path, page=number, per_page=2)
    what = "of a page after the last one"
    expect_equal(page["data"], [], f"`data` {what} of {path}")
    expect_equal(page["meta"]["current_page"], number, f"`meta.current_page` {what}")
    expect_equal(page["meta"]["last_page"], last_page, f"`meta.last_page` {what}")
    expect_equal(page["links"]["next"], None, f"`next` {what}")
    previous = follow_page_link(kit, path, page["links"]["prev"])
    expect_equal(previous["meta"]["current_page"], last_page, f"The target of `prev` {what}")


def _expect_correct_links(kit: Kit, path: str) -> None:
    """Follow the links of page 2 with one item a page.

    Fail unless each leads to its page and keeps ``per_page``. ``prev`` of the first page and ``next`` of the
    last must be null, and the links of a filtered list keep the filter.
    """
    second = fetch_page(kit, path, page=2, per_page=1)
    last_page = second["meta"]["last_page"]
    for name, number in {"first": 1, "prev": 1, "next": 3, "last": last_page}.items():
        target = follow_page_link(kit, path, second["links"][name])
        expect_equal(target["meta"]["current_page"], number, f"The target of `{name}` on page 2 of {path}")
        expect_equal(target["meta"]["per_page"], 1, f"`meta.per_page` of the target of `{name}`")
    for name, number in {"prev": 1, "next": last_page}.items():
        link = fetch_page(kit, path, page=number, per_page=1)["links"][name]
        expect_equal(link, None, f"`{name}` on page {number} of {path}, which has no such page,")
    # No item of this run has this status, so a link without the status has another total.
    failed = fetch_page(kit, path, status="failed", per_page=3)
    for name in ("first", "last"):
        target = follow_page_link(kit, path, failed["links"][name])
        total = failed["meta"]["total"]
        expect_equal(
            target["meta"]["total"], total, f"`meta.total` of the target of `{name}` of ?status=failed"
        )


def _expect_consistent_numbers(kit: Kit, path: str) -> None:
    """Fail unless page number, ``per_page``, ``last_page`` and the number of items of several pages fit the
    total. Lists with a status filter, which are usually empty, are checked as well.
    """
    total = fetch_page(kit, path)["meta"]["total"]
    # Only a last page that is not full shows whether the server rounds up or down.
    per_page = next((number for number in range(2, MAX_PER_PAGE) if total % number), 2)
    last_page = fetch_page(kit, path, per_page=per_page)["meta"]["last_page"]
    # The lists of failed and pending items are usually empty.
    statuses = [{"page": 1, "status": status} for status in ("failed", "pending")]
    for query in ({"page": 1}, {"page": last_page}, *statuses):
        page = fetch_page(kit, path, per_page=per_page, **query)
        meta = page["meta"]
        expect_equal(meta["current_page"], query["page"], f"`meta.current_page` of {path}")
        expect_equal(meta["per_page"], per_page, f"`meta.per_page` of {path}")
        wanted = max(1, math.ceil(meta["total"] / per_page))
        what = f"`meta.last_page` of {path} with {meta['total']} items and per_page={per_page}"
        expect_equal(meta["last_page"], wanted, what)
        rest = max(0, min(per_page, meta["total"] - per_page * (meta["current_page"] - 1)))
        expect_equal(len(page_items(page)), rest, f"The number of items on page {query['page']} of {path}")
