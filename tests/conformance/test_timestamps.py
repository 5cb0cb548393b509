from __future__ import annotations

from datetime import UTC, datetime

import pytest

from conformance.timestamps import parse_timestamp, timestamps_in
from conformance.verdicts import CheckFailed

NOON = datetime(2026, 2, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-15T12:00:00.000000Z",
        "2026-02-15T12:00:00Z",
        "2026-02-15t12:00:00.0z",
        "2026-02-15 12:00:00+00:00",
        "2026-02-15T17:30:00.000000000+05:30",
        "2026-02-15T12:00:00.000-00:00",
    ],
)
def test_rfc_3339_variants_are_equal(text: str) -> None:
    assert parse_timestamp(text, "it") == NOON


def test_leap_second_is_read_as_second_59() -> None:
    assert parse_timestamp("2016-12-31T23:59:60Z", "it") == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-15T12:00:00",
        "2026-02-15",
        "2026-02-30T12:00:00Z",
        "2026-02-15T12:00Z",
        "2026-02-15T12:00:00 Z",
        "Sun, 15 Feb 2026 12:00:00 GMT",
        1771156800,
        None,
    ],
)
def test_other_text_fails(text: object) -> None:
    with pytest.raises(CheckFailed, match="not an RFC 3339 timestamp"):
        parse_timestamp(text, "it")


def test_nested_timestamps_are_found() -> None:
    body = {"data": [{"created_at": "a", "at": "b"}, {"ends_at": None, "image": {"updated_at": 3}}]}

    assert dict(timestamps_in(body)) == {"data.0.created_at": "a", "data.1.image.updated_at": 3}
