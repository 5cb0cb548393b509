"""Does a list with a status hold all that has it, on all of its pages, and tell of each what is so?"""

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
from conformance.polling import poll
from conformance.shared_batches import cancelled_batch, named_batches
from conformance.verdicts import CheckFailed, Inconclusive, expect, expect_equal, retry

if TYPE_CHECKING:
    from conformance.kit import Kit

_FEW = 2  # on a page
_LONGEST_PAUSE = 5.0  # seconds between two requests for a list
_WALKS = 4


@check("PAGE-018")
def the_list_tells_of_an_image_what_it_tells_itself(kit: Kit) -> None:
    done = kit.images.completed_png().image["id"]

    def look() -> None:
        told = next((image for image in fetch_all(kit, IMAGES) if image["id"] == done), None)
        if told is None:
            raise CheckFailed("An image is not in the list of images.", expected=done)
        expect_same_fields(kit, told, "the list of images")

    retry(look)


@check("PAGE-019")
def the_pages_of_a_status_hold_each_image_once(kit: Kit) -> None:
    own = [
        kit.images.completed_png().image["id"],
        *five_images(kit)[:_FEW],
    ]
    for image_id in own:
        expect_equal(
            kit.images.wait(image_id)[0]["status"], "completed", "The status of a good picture at its end"
        )
    newest = kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"]
    # The newest is not completed yet, unless the server is very quick: it must take no place on this page.
    first = page_items(fetch_page(kit, IMAGES, status="completed", per_page=_FEW))
    expect_equal(
        len(first), _FEW, f"The number of images with status=completed&per_page={_FEW}, of {len(own)},"
    )
    kit.images.wait(newest)
    _walk(kit, IMAGES, own)


@check("PAGE-020")
def the_pages_of_a_status_hold_each_batch_once(kit: Kit) -> None:
    own = [batch["id"] for batch in named_batches(kit).values()]
    for batch_id in own:
        expect_equal(kit.batches.wait(batch_id)[0]["status"], "completed", "The status of a batch at its end")
    _walk(kit, BATCHES, own)


@check("PAGE-021")
def images_at_work_are_found_by_their_status(kit: Kit) -> None:
    own = [kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"] for _ in range(3)]
    sought = {"pending", "processing"}

    def look() -> bool:
        """Search for the statuses that the images have now; return whether none is left to search for."""
        statuses = {str(kit.images.get(image_id)["status"]) for image_id in own}
        for status in sorted(sought & statuses):
            if retry(partial(_are_found, kit, own, status)):
                sought.remove(status)
        return not sought or statuses <= TERMINAL

    poll(look, bool, timeout_seconds=kit.options.work_timeout, growth=2, longest_pause_seconds=_LONGEST_PAUSE)


@check("PAGE-022")
def a_cancelled_batch_is_found_by_its_status(kit: Kit) -> None:
    batch = cancelled_batch(kit)
    if batch.after is None or kit.batches.wait(batch.id)[0]["status"] != "cancelled":
        return  # finished before

    def look() -> None:
        found = [one["id"] for one in fetch_all(kit, BATCHES, status="cancelled")]
        expect(
            batch.id in found,
            "A cancelled batch is not found by its status.",
            expected=batch.id,
            actual=found,
        )

    retry(look)


def _are_found(kit: Kit, own: list[int], status: str) -> bool:
    """Whether any has this status. A status only goes forward: who has it before and after had it in between."""
    having = [image_id for image_id in own if kit.images.get(image_id)["status"] == status]
    if not having:
        return False
    found = {image["id"] for image in fetch_all(kit, IMAGES, status=status)}
    still = [image_id for image_id in having if kit.images.get(image_id)["status"] == status]
    missing = sorted(set(still) - found)
    expect(
        not missing,
        f"/images?status={status} lacks images that have it.",
        expected=still,
        actual=sorted(found),
    )
    return bool(still)


def _walk(kit: Kit, path: str, own: list[int]) -> None:
    """Through those that are completed, again where the list changed meanwhile: others may be at work still."""
    for walk in range(_WALKS):
        if retry(lambda: _walked(kit, path, own)):
            return
        time.sleep(walk)
    raise Inconclusive(
        f"Somebody else uses the account: the number of {path[1:]} changed while they were read."
    )


def _walked(kit: Kit, path: str, own: list[int]) -> bool:
    """Whether the list stayed as it was. ``own`` are completed, and more than fit on a page of two."""
    total = fetch_page(kit, path, status="completed", per_page=1)["meta"]["total"]
    per_page = min(MAX_PER_PAGE, max(_FEW, math.ceil(total / PAGES_WANTED)))
    pages = [fetch_page(kit, path, status="completed", per_page=per_page)]
    while pages[-1]["links"]["next"] is not None and len(pages) < MAX_PAGES:
        pages.append(_neighbour(kit, path, pages[-1], "next", per_page))
    back = _neighbour(kit, path, pages[1], "prev", per_page) if len(pages) > 1 else pages[0]
    for one in [*pages, back]:
        others = [item["id"] for item in page_items(one) if item["status"] != "completed"]
        expect(
            not others,
            f"A page of {path}?status=completed holds others.",
            expected="completed",
            actual=[item["status"] for item in page_items(one)],
        )
    if any(one["meta"]["total"] != total for one in [*pages, back]):
        return False
    seen = [item["id"] for one in pages for item in page_items(one)]
    twice = sorted({item for item in seen if seen.count(item) > 1})
    expect(
        not twice, f"Items stand on two pages of {path}?status=completed.", expected="each once", actual=twice
    )
    if pages[-1]["links"]["next"] is None:
        expect_equal(len(seen), total, f"The number of items on all pages of {path}?status=completed")
        missing = sorted(set(own) - set(seen))
        expect(
            not missing, f"Items stand on no page of {path}?status=completed.", expected=own, actual=missing
        )
    first, again = ([item["id"] for item in page_items(one)] for one in (pages[0], back))
    expect_equal(again, first, f"What `prev` of page 2 of {path}?status=completed leads to")
    return True


def _neighbour(kit: Kit, path: str, one: dict[str, Any], name: str, per_page: int) -> dict[str, Any]:
    link = one["links"][name]
    query = parse_qs(urlsplit(str(link)).query)
    for field, value in (("status", "completed"), ("per_page", str(per_page))):
        expect_equal(query.get(field), [value], f"`{field}` in the link `{name}` of {path}?status=completed")
    led = follow_page_link(kit, path, link)
    step = 1 if name == "next" else -1
    expect_equal(
        led["meta"]["current_page"],
        one["meta"]["current_page"] + step,
        f"The page of {path}?status=completed that `{name}` leads to",
    )
    return led
