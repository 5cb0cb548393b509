"""Tests of the envelope of a list page."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.paging import paged
from handlers.request import SERVICES


class _Policy:
    public_url = "https://api.example"


class _Services:
    policy = _Policy()


_APP = flask.Flask(__name__)
_APP.extensions[SERVICES] = _Services()


def page_of(total: int, page: int, per_page: int, query: str = "") -> Any:
    with _APP.test_request_context(f"/api/images?{query}"):
        return paged("Listed", [], total, page, per_page)


def query_of(link: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(link).query))


@pytest.mark.parametrize(
    ("total", "per_page", "last"),
    [(0, 15, 1), (1, 15, 1), (15, 15, 1), (16, 15, 2), (30, 15, 2), (31, 15, 3), (5, 1, 5)],
)
def test_last_page_is_the_last_with_items(total: int, per_page: int, last: int) -> None:
    body = page_of(total, 1, per_page)

    assert body["meta"]["last_page"] == last
    assert query_of(body["links"]["last"])["page"] == str(last)


@given(st.integers(0, 500), st.integers(1, 100), st.integers(1, 600))
def test_links_lead_to_existing_pages(total: int, per_page: int, page: int) -> None:
    body = page_of(total, page, per_page, f"per_page={per_page}")
    last, links = body["meta"]["last_page"], body["links"]

    assert (links["prev"] is None) == (page == 1)
    assert (links["next"] is None) == (page >= last)
    if links["prev"]:
        assert query_of(links["prev"])["page"] == str(min(page - 1, last))
    if links["next"]:
        assert query_of(links["next"])["page"] == str(page + 1)


def test_links_keep_only_filters_and_sent_page_size() -> None:
    with_size = page_of(9, 2, 3, "per_page=3&page=2&x=1&status=failed")["links"]["next"]
    without_size = page_of(40, 2, 15, "page=2&status=")["links"]["next"]

    assert query_of(with_size) == {"per_page": "3", "status": "failed", "page": "3"}
    assert without_size == "https://api.example/api/images?page=3"
