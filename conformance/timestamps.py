"""Timestamps in the format of RFC 3339."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from conformance.contract import time_fields
from conformance.verdicts import CheckFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

# RFC 3339, section 5.6: letters may have either case, and a space may replace the T.
_RFC_3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}):(\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.IGNORECASE | re.ASCII
)
_FRACTION_LENGTH = 7  # characters down to the microsecond, with the decimal point
_MICROSECONDS = re.compile(r"\.\d{3}(?!000)\d{3}", re.ASCII)
_LEAP_SECOND = "60"


def parse_timestamp(text: Any, what: str) -> datetime:
    """Return the time with its zone, cut to microseconds; a leap second counts as second 59.

    Raise CheckFailed for anything but an RFC 3339 timestamp; ``what`` names it in the message.
    """
    matched = _RFC_3339.fullmatch(text) if isinstance(text, str) else None
    if matched is not None:
        with suppress(ValueError):
            return _read(matched)
    raise CheckFailed(
        f"{what} is {text!r}, which is not an RFC 3339 timestamp with a zone.",
        expected="for example 2026-02-15T12:00:00.000000Z",
        actual=text,
    )


def timestamps_in(body: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path (``data.created_at``) and value of each field with the name of a time in the contract.

    Null is left out; a value of any other type is included. Names are searched at any depth.
    """
    if isinstance(body, dict):
        for name, value in body.items():
            path = f"{at}.{name}" if at else name
            if name in time_fields() and value is not None:
                yield path, value
            else:
                yield from timestamps_in(value, path)
    elif isinstance(body, list):
        for number, item in enumerate(body):
            yield from timestamps_in(item, f"{at}.{number}")


def sort_key(item: dict[str, Any]) -> tuple[datetime, int]:
    """Return the key by which a list is sorted in descending order. Raise CheckFailed without a timestamp.

    The id decides between items of the same time, if the times are exact enough to compare.
    """
    text = item["created_at"]
    created = parse_timestamp(text, "`created_at`")
    return created, item["id"] if has_microseconds(text) else 0


def has_microseconds(text: str) -> bool:
    """Return whether a timestamp has six decimals of which the last three are not only zeros."""
    return _MICROSECONDS.search(text) is not None


def _read(matched: re.Match[str]) -> datetime:
    """Return the time, cut to microseconds. Raise ValueError for a date like February 30."""
    date, minute, second, fraction, zone = matched.groups()
    second = "59" if second == _LEAP_SECOND else second
    fraction = (fraction or ".")[:_FRACTION_LENGTH].ljust(_FRACTION_LENGTH, "0")
    zone = "+00:00" if zone in "Zz" else zone
    return datetime.fromisoformat(f"{date}T{minute}:{second}{fraction}{zone}")
