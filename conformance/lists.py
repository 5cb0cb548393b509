"""A list that comes in pages, as its caller reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.verdicts import Broken, expect

if TYPE_CHECKING:
    from conformance.client import Answer
    from conformance.kit import Kit

MOST_PER_PAGE = 100
# What somebody else keeps in the account is no reason to read all of it.
MOST_PAGES = 10


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
