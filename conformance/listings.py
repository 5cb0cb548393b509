"""Lists that are returned in pages."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from conformance.contract import documented_fields, time_fields
from conformance.shared_batches import tiny_sample
from conformance.timestamps import parse_timestamp
from conformance.verdicts import CheckFailed, expect, expect_count, expect_equal

if TYPE_CHECKING:
    from conformance.client import Response
    from conformance.kit import Kit

IMAGES, BATCHES = "/images", "/batches"
MAX_PER_PAGE = 100
PAGES_WANTED = 4  # of a small account: more than a first and a last page
MAX_PAGES = 10  # of a large account, which other clients may have filled
# A link may be signed again in each response; the two paths are not meant for clients.
_NOT_COMPARED = frozenset({"download_url", "original_path", "upscaled_path"})
# One response may have times in seconds and another one exact times.
_SAME_TIME = timedelta(seconds=1)


def fetch_page(kit: Kit, path: str, **query: object) -> dict[str, Any]:
    """GET one page as the owner and return its body. Raise CheckFailed unless it is a 200 with a page."""
    return expect_page(kit.owner.get(path, params=query).expect(200, why=f"with {query}"))


def expect_page(response: Response) -> dict[str, Any]:
    """Return the body of a page, whatever the status.

    Raise CheckFailed unless `meta` (with four whole numbers) and `links` are objects and `data` is a list of
    objects.
    """
    body = response.json
    if (
        not isinstance(body, dict)
        or not isinstance(body["meta"], dict)
        or not isinstance(body["links"], dict)
    ):
        raise CheckFailed(
            f"{response.request_line} returned no page.", expected="data, meta and links", actual=body
        )
    for name in ("current_page", "last_page", "per_page", "total"):
        expect_count(body["meta"][name], f"`meta.{name}`")
    page_items(body)
    return body


def page_items(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the items of a page. Raise CheckFailed unless `data` is a list of objects."""
    data = body["data"]
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise CheckFailed("The `data` of a list is not a list of objects.", expected="a list", actual=data)
    return data


def fetch_all(kit: Kit, path: str, **query: object) -> list[dict[str, Any]]:
    """Return all items in order, but at most the newest thousand: ten pages of 100.

    Raise CheckFailed unless each page is a 200 with a page.
    """
    found: list[dict[str, Any]] = []
    for number in range(1, MAX_PAGES + 1):
        one = fetch_page(kit, path, page=number, per_page=MAX_PER_PAGE, **query)
        found += page_items(one)
        if number >= one["meta"]["last_page"]:
            break
    return found


def five_images(kit: Kit) -> list[int]:
    """Return the ids of five images in the order of their upload; they are uploaded once in a run."""
    return kit.once("five images", lambda: [kit.images.upload(tiny_sample())["id"] for _ in range(5)])


def follow_page_link(kit: Kit, path: str, link: object) -> dict[str, Any]:
    """Return the body of the page that a link leads to. Raise CheckFailed unless it leads to ``path``.

    Only path and query of the link are used: the server may have several names, and the token must go to
    --base-url only.
    """
    expect(isinstance(link, str), f"A link of {path} is not a URL.", expected="a URL", actual=link)
    parts = urlsplit(urljoin(kit.transport.url(path), str(link)))
    expect(
        parts.path.rstrip("/").endswith(path),
        f"A link of {path} leads to another path.",
        expected=path,
        actual=parts.path,
    )
    return expect_page(kit.owner.get(f"{path}?{parts.query}").expect(200, why="for a link of a list"))


def expect_same_fields(kit: Kit, shown: dict[str, Any], where: str) -> None:
    """Raise CheckFailed unless a completed image has the same fields there as in ``GET /images/{id}``.

    Times may differ by less than a second; paths and `download_url` are not compared, but the link must
    return 200.
    """
    image = kit.images.get(shown["id"])
    expect_equal(image["status"], "completed", "The final status of a valid image")
    for name in documented_fields("/components/schemas/ImageDetails"):
        there, here = shown.get(name), image.get(name)
        if name in _NOT_COMPARED or there == here:
            continue
        if name in time_fields() and _is_same_time(there, here):
            continue
        expect_equal(there, here, f"`{name}` in {where}, compared with GET /images/{{id}},")
    link = shown.get("download_url")
    if not isinstance(link, str):
        raise CheckFailed(
            f"A completed image has no `download_url` in {where}.", expected="a link", actual=link
        )
    kit.transport.follow(link).expect(200, why=f"for a link of {where}")


def _is_same_time(one: object, other: object) -> bool:
    """Return whether two timestamps differ by less than a second. Raise CheckFailed if one is invalid."""
    what = "A time of an image"
    return abs(parse_timestamp(one, what) - parse_timestamp(other, what)) < _SAME_TIME
