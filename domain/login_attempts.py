"""Rate limits on failed logins: for a client's address with an email address, and for a client's address alone.

Verifying a password is slow, so that many concurrent attempts can all pass the first check of the limit. The limit is
therefore checked before and after the password is verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import TooManyFailedLogins

if TYPE_CHECKING:
    from domain.services import Services

_WINDOW_SECONDS = 300
_MAX_FOR_PAIR = 10
_MAX_FOR_ADDRESS = 30


def require_below_limit(services: Services, address: str, email: str) -> None:
    """Raise TooManyFailedLogins after too many failures, even if the password is correct this time.

    It counts nothing, and passes while the counters are unavailable.
    Call it again after a correct password: concurrent attempts may have failed since the first call.
    """
    for key, limit in _buckets(address, email):
        window = services.counter.peek(key, limit, _WINDOW_SECONDS)
        if window is not None and window.remaining == 0:
            raise TooManyFailedLogins(window.resets_in_seconds)


def record_failure(services: Services, address: str, email: str) -> None:
    """Count one failed login for the pair and for the client's address.

    Raise TooManyFailedLogins above a limit. Nothing is counted or raised while the counters are unavailable.
    """
    windows = [services.counter.hit(key, limit, _WINDOW_SECONDS) for key, limit in _buckets(address, email)]
    for window in windows:
        if window is not None and window.exceeded:
            raise TooManyFailedLogins(window.resets_in_seconds)


def _buckets(address: str, email: str) -> tuple[tuple[str, int], ...]:
    """Return the key and the limit of each counter of failed logins."""
    return ((f"login:{address}:{email}", _MAX_FOR_PAIR), (f"login:{address}", _MAX_FOR_ADDRESS))
