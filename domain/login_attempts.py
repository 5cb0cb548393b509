"""Guessing passwords is made slow: by address and e-mail together, and by address alone.

What counts is how many guesses are answered, and looking at a password takes its time: many that come at once
all find room. So the bound is asked before, and again with the answer in hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import TooManyFailedLogins

if TYPE_CHECKING:
    from domain.services import Services

_WINDOW_SECONDS = 300
_MOST_FOR_PAIR = 10
_MOST_FOR_ADDRESS = 30


def _buckets(address: str, email: str) -> tuple[tuple[str, int], ...]:
    return ((f"login:{address}:{email}", _MOST_FOR_PAIR), (f"login:{address}", _MOST_FOR_ADDRESS))


def require_patience(services: Services, address: str, email: str) -> None:
    """Raises TooManyFailedLogins after too many failures, whatever the password is this time.

    To be asked once more for a password that was right: meanwhile others may have failed.
    """
    for key, most in _buckets(address, email):
        window = services.counter.look(key, most, _WINDOW_SECONDS)
        if window is not None and window.remaining == 0:
            raise TooManyFailedLogins(window.resets_in_seconds)


def note_failure(services: Services, address: str, email: str) -> None:
    """Raises TooManyFailedLogins if it was one too many, and then tells no more than that."""
    windows = [services.counter.hit(key, most, _WINDOW_SECONDS) for key, most in _buckets(address, email)]
    for window in windows:
        if window is not None and window.exceeded:
            raise TooManyFailedLogins(window.resets_in_seconds)
