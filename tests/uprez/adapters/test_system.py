from __future__ import annotations

from datetime import UTC, datetime, timedelta

from uprez.adapters.system import SystemClock, SystemRandomSource


def test_the_clock_tells_the_time_of_now_with_its_zone() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


def test_chance_is_letters_and_digits_of_the_wanted_number() -> None:
    token = SystemRandomSource().token
    assert token(0) == ""
    assert len(token(40)) == 40
    drawn = token(20_000)
    assert drawn.isascii()
    assert drawn.isalnum()
    assert len(set(drawn)) == 62


def test_chance_does_not_repeat_itself() -> None:
    assert len({SystemRandomSource().token(16) for _ in range(1000)}) == 1000
