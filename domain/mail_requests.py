"""Anybody can ask for a mail to anybody: so many, and no more, to one address and from one client."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domain.services import Services

_log = logging.getLogger(__name__)
_WINDOW_SECONDS = 3600
_MOST_TO_ADDRESS = 5
"""Of one kind: whoever uses up one kind for somebody leaves him the other."""
_MOST_FROM_CLIENT = 50


def admitted(services: Services, kind: str, email: str, client: str) -> bool:
    """Counts one request for a mail; False if it was one too many, which is not to be told."""
    # The client first: one that is over its bound does not use up that of the address.
    for key, most in ((f"mail:{client}", _MOST_FROM_CLIENT), (f"mail:{kind}:{email}", _MOST_TO_ADDRESS)):
        hit = (key, most, _WINDOW_SECONDS)
        # Who gets the mail never asked for it: an outage of ours is no reason to send him any number.
        window = services.counter.hit(*hit) or services.counter.hit_locally(*hit)
        if window.exceeded:
            _log.warning("A mail (%s) is not sent: too many were asked for within an hour.", kind)
            return False
    return True
