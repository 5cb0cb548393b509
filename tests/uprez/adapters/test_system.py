from __future__ import annotations

from datetime import UTC, datetime, timedelta

from uprez.adapters.system import SystemChance, SystemClock


def test_the_clock_tells_the_time_of_now_with_its_zone() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


def test_chance_is_letters_and_digits_of_the_wanted_number() -> None:
    letters = SystemChance().letters
    assert letters(0) == ""
    assert len(letters(40)) == 40
    drawn = letters(20_000)
    assert drawn.isascii()
    assert drawn.isalnum()
    assert len(set(drawn)) == 62


def test_chance_does_not_repeat_itself() -> None:
    assert len({SystemChance().letters(16) for _ in range(1000)}) == 1000
