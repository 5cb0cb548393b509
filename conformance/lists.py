"""A list that comes in pages, as its caller reads it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from conformance.batches import tiny
from conformance.contract import documented_fields, time_fields
from conformance.times import instant
from conformance.verdicts import Broken, expect, expect_equal

if TYPE_CHECKING:
    from conformance.client import Answer
    from conformance.kit import Kit

IMAGES, BATCHES = "/images", "/batches"
MOST_PER_PAGE = 100
PAGES_WANTED = 4  # of an account with little in it: more than a first and a last one
# What somebody else keeps in the account is no reason to read all of it.
MOST_PAGES = 10
# Signed anew, perhaps, each time that it is told; and two that are of no use to a client.
_NOT_COMPARED = frozenset({"download_url", "original_path", "upscaled_path"})
# Times may be shown in seconds in one place and exactly in another.
_SAME_MOMENT = timedelta(seconds=1)


def page(kit: Kit, path: str, **query: object) -> dict[str, Any]:
    """The body of one page."""
    return page_of(kit.owner.get(path, params=query).expect(200, why=f"with {query}"))


def page_of(answer: Answer) -> dict[str, Any]:
    """The body of an answer that is a page. Raises Broken for anything that is none."""
    body = answer.json
    if (
        not isinstance(body, dict)
        or not isinstance(body["meta"], dict)
        or not isinstance(body["links"], dict)
    ):
        raise Broken(f"{answer.asked} answers no page.", expected="data, meta and links", actual=body)
    for name in ("current_page", "last_page", "per_page", "total"):
        expect(
            type(body["meta"][name]) is int, f"`meta.{name}` is no whole number.", actual=body["meta"][name]
        )
    items(body)
    return body


def items(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Raises Broken for a page whose `data` is no list of objects."""
    data = body["data"]
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise Broken("The `data` of a list is no list of objects.", expected="a list", actual=data)
    return data


def listed(kit: Kit, path: str, **query: object) -> list[dict[str, Any]]:
    """All items, in their order; of very many the newest thousand."""
    found: list[dict[str, Any]] = []
    for number in range(1, MOST_PAGES + 1):
        one = page(kit, path, page=number, per_page=MOST_PER_PAGE, **query)
        found += items(one)
        if number >= one["meta"]["last_page"]:
            break
    return found


def own_images(kit: Kit) -> list[int]:
    """Five, in the order in which they were sent."""
    return kit.once("five images", lambda: [kit.upload(tiny())["id"] for _ in range(5)])


def followed(kit: Kit, path: str, link: object) -> dict[str, Any]:
    """The page a link leads to.

    Only its path and query count: the server may be known by several names, and the token goes to none but the
    one that was given.
    """
    expect(isinstance(link, str), f"A link of {path} is no address.", expected="an address", actual=link)
    parts = urlsplit(urljoin(kit.transport.url(path), str(link)))
    expect(
        parts.path.rstrip("/").endswith(path),
        f"A link of {path} leads to another path.",
        expected=path,
        actual=parts.path,
    )
    return page_of(kit.owner.get(f"{path}?{parts.query}").expect(200, why="for a link of a list"))


def expect_same_image(kit: Kit, told: dict[str, Any], where: str) -> None:
    """Raises Broken unless a completed image is told of there as it is by itself, and can be fetched from there."""
    alone = kit.image(told["id"])
    expect_equal(alone["status"], "completed", "The status of a good picture at its end")
    for name in documented_fields("/components/schemas/Image"):
        there, here = told.get(name), alone.get(name)
        if name in _NOT_COMPARED or there == here:
            continue
        if name in time_fields() and _are_one_moment(there, here):
            continue
        expect_equal(there, here, f"`{name}` in {where}, of an image that says otherwise by itself,")
    link = told.get("download_url")
    if not isinstance(link, str):
        raise Broken(f"A completed image has no `download_url` in {where}.", expected="a link", actual=link)
    kit.transport.follow(link).expect(200, why=f"for a link of {where}")


def _are_one_moment(one: object, other: object) -> bool:
    what = "A time of an image"
    return abs(instant(one, what) - instant(other, what)) < _SAME_MOMENT
