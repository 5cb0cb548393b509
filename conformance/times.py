"""Points in time, as RFC 3339 writes them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from conformance.contract import time_fields
from conformance.verdicts import Broken

if TYPE_CHECKING:
    from collections.abc import Iterator

# RFC 3339, section 5.6: upper and lower case are alike, and a space may stand for the T.
_RFC_3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}):(\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.IGNORECASE | re.ASCII
)
_MICROSECOND = 7  # characters of a fraction, the point included
_MICROSECONDS = re.compile(r"\.\d{3}(?!000)\d{3}", re.ASCII)
_LEAP_SECOND = "60"


def instant(text: Any, what: str) -> datetime:
    """With its zone, cut to the microsecond. Raises Broken, which says ``what`` it is the time of."""
    matched = _RFC_3339.fullmatch(text) if isinstance(text, str) else None
    if matched is not None:
        with suppress(ValueError):
            return _read(matched)
    raise Broken(
        f"{what} is {text!r}: no time with a zone as RFC 3339 writes it.",
        expected="for example 2026-02-15T12:00:00.000000Z",
        actual=text,
    )


def times_in(body: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """What is not null under a name that the contract has for a time, with the way to it: ``data.created_at``."""
    if isinstance(body, dict):
        for name, value in body.items():
            path = f"{at}.{name}" if at else name
            if name in time_fields() and value is not None:
                yield path, value
            else:
                yield from times_in(value, path)
    elif isinstance(body, list):
        for number, item in enumerate(body):
            yield from times_in(item, f"{at}.{number}")


def order(item: dict[str, Any]) -> tuple[datetime, int]:
    """What a list is sorted by, newest last. Raises Broken for an item without a time.

    The id decides between items of the same instant, where times are told exactly enough to know it.
    """
    text = item["created_at"]
    created = instant(text, "`created_at`")
    return created, item["id"] if is_exact(text) else 0


def is_exact(text: str) -> bool:
    """Whether a time is told in microseconds: zeros may fill up what is not known any nearer."""
    return _MICROSECONDS.search(text) is not None


def _read(matched: re.Match[str]) -> datetime:
    """Raises ValueError for a 30th of February."""
    date, minute, second, fraction, zone = matched.groups()
    second = "59" if second == _LEAP_SECOND else second
    fraction = (fraction or ".")[:_MICROSECOND].ljust(_MICROSECOND, "0")
    zone = "+00:00" if zone in "Zz" else zone
    return datetime.fromisoformat(f"{date}T{minute}:{second}{fraction}{zone}")
