"""Tests of the formats of sizes, times, initials and links."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.shapes import absolute, human_size, initials, time_text

UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KB"),
        (1025, "1 KB"),
        (1030, "1.01 KB"),
        (1126, "1.1 KB"),
        (1536, "1.5 KB"),
        (10 * 1024, "10 KB"),
        (102_400, "100 KB"),
        (1024**2 - 1, "1 MB"),
        (1024**2 - 6, "1023.99 KB"),
        (1024**2, "1 MB"),
        (2_048_576, "1.95 MB"),
        (8_194_304, "7.81 MB"),
        (10_485_760, "10 MB"),
        (1024**3 - 1, "1 GB"),
        (1024**4, "1 TB"),
        (5000 * 1024**4, "5000 TB"),
    ],
)
def test_size_uses_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert human_size(size) == text


@given(st.integers(0, 2**50))
def test_every_size_matches_the_contract_and_is_rounded(size: int) -> None:
    text = human_size(size)

    assert re.fullmatch(r"[0-9]+(\.[0-9]?[1-9])? (B|KB|MB|GB|TB)", text)
    number, unit = text.split(" ")
    assert abs(float(number) * UNITS[unit] - size) <= 0.00501 * UNITS[unit]
    assert float(number) < 1024 or unit == "TB"


def test_time_has_six_decimals_and_utc() -> None:
    assert time_text(datetime(2026, 2, 15, 12, 0, 0, 7, UTC)) == "2026-02-15T12:00:00.000007Z"
    assert time_text(None) is None


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("Jane Smith", "JS"),
        ("jane", "J"),
        ("Jane van der Smith", "JS"),
        ("  jane   smith ", "JS"),
        ("李小龙", "李"),
        ("ßmith", "S"),
        ("'Jane' (Smith)", "JS"),
        ("- -", "?"),
        ("", "?"),
        ("🙂", "?"),
        ("<script>", "S"),
        ("3 Musketeers", "3M"),
    ],
)
def test_initials_are_at_most_two_letters(name: str, letters: str) -> None:
    assert initials(name) == letters


@given(st.text(max_size=255))
def test_every_name_has_initials(name: str) -> None:
    assert 1 <= len(initials(name)) <= 2


def test_only_relative_links_get_the_origin() -> None:
    assert absolute("http://x", "/api/files/y") == "http://x/api/files/y"
    assert absolute("http://x", "https://store.example/y") == "https://store.example/y"
