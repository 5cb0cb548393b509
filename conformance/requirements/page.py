"""Do the pages of a list hold everything once, newest first, and say of themselves what is so?"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.images.samples import make_sample
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
from conformance.verdicts import expect, expect_equal, retry

if TYPE_CHECKING:
    from datetime import datetime

    from conformance.client import Response
    from conformance.kit import Kit

STATUSES = {
    IMAGES: ("pending", "processing", "completed", "failed"),
    BATCHES: ("pending", "processing", "completed", "partially_failed", "failed", "cancelled"),
}
DEFAULT_PER_PAGE = 15


def own_batches(kit: Kit) -> list[int]:
    return [batch["id"] for batch in named_batches(kit).values()]


@check("PAGE-001")
def the_pages_hold_every_image_once(kit: Kit) -> None:
    own = five_images(kit)
    retry(lambda: _each_once(kit, IMAGES, own))


@check("PAGE-002")
def the_newest_image_comes_first(kit: Kit) -> None:
    own = five_images(kit)
    retry(lambda: _newest_first(kit, IMAGES, own))


@check("PAGE-003")
def what_is_no_page_is_refused(kit: Kit) -> None:
    _refuses(kit, IMAGES, {"page": ("0", "-1", "abc", "1.5"), "per_page": ("0", "101", "-1", "abc")})


@check("PAGE-023")
def a_page_is_written_in_digits(kit: Kit) -> None:
    written = ("+1", "1_0", "1 ", "1.0", "1e1", "\uff11")  # the last one is a wide 1
    _refuses(kit, IMAGES, {"page": written, "per_page": written})


@check("PAGE-004")
def a_page_has_fifteen_images_unless_told_and_at_most_a_hundred(kit: Kit) -> None:
    five_images(kit)

    def look() -> None:
        usual = fetch_page(kit, IMAGES)
        expect_equal(usual["meta"]["per_page"], DEFAULT_PER_PAGE, "`meta.per_page` without `per_page`")
        expect_equal(usual["meta"]["current_page"], 1, "`meta.current_page` without `page`")
        total = usual["meta"]["total"]
        expect_equal(len(page_items(usual)), min(DEFAULT_PER_PAGE, total), "The number of images on a page")
        largest = fetch_page(kit, IMAGES, per_page=MAX_PER_PAGE)
        expect_equal(largest["meta"]["per_page"], MAX_PER_PAGE, "`meta.per_page` with per_page=100")
        expect_equal(
            len(page_items(largest)), min(MAX_PER_PAGE, total), "The number of images with per_page=100"
        )

    retry(look)


@check("PAGE-005")
def past_the_end_there_is_nothing(kit: Kit) -> None:
    five_images(kit)
    retry(lambda: _nothing_past_the_end(kit, IMAGES))


@check("PAGE-006")
def a_status_chooses_the_images_that_have_it(kit: Kit) -> None:
    done = kit.images.completed_png().image["id"]
    _filtered(kit, IMAGES, "completed", done)


@check("PAGE-007")
def links_lead_where_they_say(kit: Kit) -> None:
    five_images(kit)
    retry(lambda: _links_lead(kit, IMAGES))


@check("PAGE-008")
def a_parameter_sent_twice_is_refused(kit: Kit) -> None:
    _refuses_twice(kit, IMAGES)


@check("PAGE-009")
def a_parameter_that_is_not_known_is_passed_over(kit: Kit) -> None:
    five_images(kit)
    asked = fetch_page(kit, IMAGES, per_page=2, uprez_conformance="unknown")
    expect_equal(asked["meta"]["per_page"], 2, "`meta.per_page` beside an unknown parameter")
    expect_equal(len(page_items(asked)), 2, "The number of images beside an unknown parameter")


@check("PAGE-010")
def the_numbers_beside_a_list_are_right(kit: Kit) -> None:
    five_images(kit)
    retry(lambda: _numbers_are_right(kit, IMAGES))


@check("PAGE-011")
def the_pages_hold_every_batch_once_and_the_newest_first(kit: Kit) -> None:
    own = own_batches(kit)
    retry(lambda: _each_once(kit, BATCHES, own))
    retry(lambda: _newest_first(kit, BATCHES, own))


@check("PAGE-012")
def what_is_no_page_of_batches_is_refused(kit: Kit) -> None:
    named_batches(kit)  # where batches are forbidden, it is said here
    _refuses(kit, BATCHES, {"page": ("0", "abc"), "per_page": ("0", "101", "abc"), "status": ("uploaded",)})
    _refuses_twice(kit, BATCHES)


@check("PAGE-013")
def a_status_chooses_the_batches_that_have_it(kit: Kit) -> None:
    done = observed_batch(kit)
    _filtered(kit, BATCHES, str(done.end["status"]), done.id)


@check("PAGE-014")
def links_and_numbers_of_the_list_of_batches_are_right(kit: Kit) -> None:
    named_batches(kit)
    retry(lambda: _links_lead(kit, BATCHES))
    retry(lambda: _numbers_are_right(kit, BATCHES))
    retry(lambda: _nothing_past_the_end(kit, BATCHES))


@check("PAGE-015")
def of_images_of_one_instant_the_larger_id_comes_first(kit: Kit) -> None:
    batch = observed_batch(kit).id

    def look() -> None:
        of_batch = [image for image in fetch_all(kit, IMAGES) if image.get("batch_id") == batch]
        for newer, older in pairwise(of_batch):
            # Times that are shown in seconds may hide the order in which the server has them.
            if has_microseconds(newer["created_at"]) and newer["created_at"] == older["created_at"]:
                expect(
                    newer["id"] > older["id"],
                    f"Of two images of the same instant, {newer['id']} stands before {older['id']}.",
                    expected="the larger id first",
                    actual=[image["id"] for image in of_batch],
                )

    retry(look)


def _each_once(kit: Kit, path: str, own: list[int]) -> None:
    total = fetch_page(kit, path, per_page=1)["meta"]["total"]
    per_page = min(MAX_PER_PAGE, max(2, math.ceil(total / PAGES_WANTED)))
    seen: list[int] = []
    whole = False
    for number in range(1, MAX_PAGES + 1):
        one = fetch_page(kit, path, page=number, per_page=per_page)
        expect(
            len(page_items(one)) <= per_page,
            f"A page of {path} with per_page={per_page} has {len(page_items(one))} items.",
            expected=f"at most {per_page}",
            actual=len(page_items(one)),
        )
        seen += [item["id"] for item in page_items(one)]
        whole = len(page_items(one)) < per_page or number >= one["meta"]["last_page"]
        if whole:
            break
    twice = sorted({item for item in seen if seen.count(item) > 1})
    expect(not twice, f"Items stand on two pages of {path}: {twice[:5]}.", expected="each once", actual=twice)
    missing = sorted(set(own) - set(seen))
    expect(
        not missing,
        f"Items stand on no page of {path}: {missing}.",
        expected=own,
        actual=seen[:MAX_PER_PAGE],
    )
    if whole:
        expect_equal(len(seen), total, f"The number of items on all pages of {path} beside `meta.total`")
    expect_equal(
        one["meta"]["total"], total, f"`meta.total` of {path} with per_page={per_page} and with per_page=1"
    )


def _newest_first(kit: Kit, path: str, own: list[int]) -> None:
    found = fetch_all(kit, path)
    for newer, older in pairwise(found):
        expect(
            _moment(newer) >= _moment(older),
            f"{path} has {newer['id']} of {newer['created_at']} before {older['id']} of {older['created_at']}.",
            expected="the newest first",
            actual=[item["created_at"] for item in (newer, older)],
        )
    # Sent one after the other, so the last one sent is the newest, unless two of them are of one instant.
    moments = {item["id"]: _moment(item) for item in found}
    mine = [item["id"] for item in found if item["id"] in own]
    for newer_id, older_id in pairwise(mine):
        expect(
            own.index(newer_id) > own.index(older_id) or moments[newer_id] == moments[older_id],
            f"{path} has {newer_id} before {older_id}, which was sent later.",
            expected=own[::-1],
            actual=mine,
        )


def _moment(item: dict[str, Any]) -> datetime:
    return parse_timestamp(item["created_at"], "`created_at`")


def _refuses(kit: Kit, path: str, wrong: dict[str, tuple[str, ...]]) -> None:
    for name, values in wrong.items():
        for value in values:
            response = kit.owner.get(path, params={name: value})
            _names(response, name, f"with {name}={value}")


def _refuses_twice(kit: Kit, path: str) -> None:
    for name, values in {"page": (1, 2), "per_page": (2, 3), "status": ("completed", "failed")}.items():
        response = kit.owner.get(path, params=[(name, value) for value in values])
        _names(response, name, f"with {name} twice")


def _names(response: Response, name: str, why: str) -> None:
    errors = response.expect(422, why=why).errors
    expect(
        name in errors,
        f"{response.request_line} {why} is refused, but not under `{name}`.",
        expected=name,
        actual=sorted(errors),
    )


def _nothing_past_the_end(kit: Kit, path: str) -> None:
    last_page = fetch_page(kit, path, per_page=2)["meta"]["last_page"]
    beyond = last_page + 1000
    past = fetch_page(kit, path, page=beyond, per_page=2)
    expect_equal(past["data"], [], f"`data` of {path} past the end")
    expect_equal(past["meta"]["current_page"], beyond, "`meta.current_page` past the end")
    expect_equal(past["meta"]["last_page"], last_page, "`meta.last_page` past the end")
    expect(past["links"]["next"] is None, "Past the end there is a next page.", actual=past["links"]["next"])
    before = follow_page_link(kit, path, past["links"]["prev"])
    expect_equal(before["meta"]["current_page"], last_page, "The page that `prev` leads to from past the end")


@check("PAGE-016")
def a_filter_takes_no_image_for_further_than_it_is(kit: Kit) -> None:
    for _ in range(4):
        kit.images.upload(make_sample("png"), {"scale_factor": 4})
    found = page_items(fetch_page(kit, IMAGES, status="processing", per_page=100))
    # One may have gone on since it was chosen; none can have gone back.
    early = [image["id"] for image in found if image["status"] == "pending"]
    expect(not early, "/images?status=processing holds images that are still pending.", actual=early)


@check("PAGE-017")
def no_image_is_missing_from_the_list(kit: Kit) -> None:
    five_images(kit)

    def look() -> None:
        there = {item["id"] for item in fetch_all(kit, IMAGES)}
        missing = sorted(kit.images.uploaded_ids - there)
        expect(not missing, "The list lacks images that were made and not deleted.", actual=missing)

    retry(look)


def _filtered(kit: Kit, path: str, status: str, own: int) -> None:
    """``own`` is an id of something that has this status for good."""

    def look() -> None:
        for wanted in STATUSES[path]:
            others = [item for item in fetch_all(kit, path, status=wanted) if item["status"] != wanted]
            expect(
                not others,
                f"{path}?status={wanted} holds others as well.",
                expected=wanted,
                actual=sorted({str(item["status"]) for item in others}),
            )
        chosen = [item["id"] for item in fetch_all(kit, path, status=status)]
        expect(
            own in chosen, f"{path}?status={status} lacks {own}, which has it.", expected=own, actual=chosen
        )

    retry(look)
    _refuses(kit, path, {"status": ("uploaded",)})


def _links_lead(kit: Kit, path: str) -> None:
    second = fetch_page(kit, path, page=2, per_page=1)
    last_page = second["meta"]["last_page"]
    for name, number in {"first": 1, "prev": 1, "next": 3, "last": last_page}.items():
        led = follow_page_link(kit, path, second["links"][name])
        expect_equal(
            led["meta"]["current_page"], number, f"The page that `{name}` leads to from page 2 of {path}"
        )
        expect_equal(led["meta"]["per_page"], 1, f"`meta.per_page` where `{name}` leads to")
    ends = {
        "prev": fetch_page(kit, path, page=1, per_page=1),
        "next": fetch_page(kit, path, page=last_page, per_page=1),
    }
    for name, at_end in ends.items():
        link = at_end["links"][name]
        expect(link is None, f"`{name}` of {path} is not null where there is no such page.", actual=link)
    # Nothing of the run's own has this status, so a link that forgot it leads to another number of items.
    failed = fetch_page(kit, path, status="failed", per_page=3)
    for name in ("first", "last"):
        led = follow_page_link(kit, path, failed["links"][name])
        total = failed["meta"]["total"]
        expect_equal(led["meta"]["total"], total, f"`meta.total` where `{name}` of ?status=failed leads to")


def _numbers_are_right(kit: Kit, path: str) -> None:
    total = fetch_page(kit, path)["meta"]["total"]
    # A last page that is not full tells rounding up from rounding down.
    per_page = next((number for number in range(2, MAX_PER_PAGE) if total % number), 2)
    last_page = fetch_page(kit, path, per_page=per_page)["meta"]["last_page"]
    # Mostly nothing waits, and nothing has failed: an empty list is a list as well.
    statuses = [{"page": 1, "status": status} for status in ("failed", "pending")]
    for query in ({"page": 1}, {"page": last_page}, *statuses):
        one = fetch_page(kit, path, per_page=per_page, **query)
        meta = one["meta"]
        expect_equal(meta["current_page"], query["page"], f"`meta.current_page` of {path}")
        expect_equal(meta["per_page"], per_page, f"`meta.per_page` of {path}")
        expect_equal(
            meta["last_page"],
            max(1, math.ceil(meta["total"] / per_page)),
            f"`meta.last_page` of {path} with {meta['total']} items and per_page={per_page}",
        )
        rest = max(0, min(per_page, meta["total"] - per_page * (meta["current_page"] - 1)))
        expect_equal(len(page_items(one)), rest, f"The number of items on page {query['page']} of {path}")
