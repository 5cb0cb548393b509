"""Envelope of one page of a list, with its position and links to the other pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import flask

from handlers.request import origin
from handlers.transport.envelope import Body, success

ALL = "all"
"""Value of the parameter ``status`` without a filter."""


def paged(message: str, data: list[Any], total: int, page: int, per_page: int) -> Body:
    """Return the envelope of this page, with ``meta`` and ``links``; an empty list has one page.

    ``total`` counts the items of all pages. The links keep ``per_page`` and ``status`` if the client sent them, so
    that a default stays a default. After the last page, ``prev`` is the last page.
    """
    last = max(1, -(-total // per_page))
    kept = {name: value for name in ("per_page", "status") if (value := flask.request.args.get(name))}

    def link(number: int) -> str:
        """Return the URL of this page of the same list, with the client's other parameters."""
        query = urlencode({**kept, "page": number})
        return f"{origin()}{flask.request.path}?{query}"

    body = success(message, data)
    body["meta"] = {"current_page": page, "last_page": last, "per_page": per_page, "total": total}
    body["links"] = {
        "first": link(1),
        "last": link(last),
        "prev": link(min(page - 1, last)) if page > 1 else None,
        "next": link(page + 1) if page < last else None,
    }
    return body
