"""The clock and the random source of the operating system."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from uprez.adapters.system import SystemClock, SystemRandomSource


def test_clock_returns_the_current_time_in_utc() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


def test_token_has_letters_and_digits_of_the_given_count() -> None:
    token = SystemRandomSource().token
    assert token(0) == ""
    assert len(token(40)) == 40
    drawn = token(20_000)
    assert drawn.isascii()
    assert drawn.isalnum()
    assert len(set(drawn)) == 62


def test_tokens_do_not_repeat() -> None:
    assert len({SystemRandomSource().token(16) for _ in range(1000)}) == 1000
