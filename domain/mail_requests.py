"""Rate limits on mails that anonymous clients request: for each address, and for each client."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domain.services import Services

_log = logging.getLogger(__name__)
_WINDOW_SECONDS = 3600
_MAX_PER_ADDRESS = 5
"""For each kind of mail: exhausting the limit of one kind does not block the other kind."""
_MAX_PER_CLIENT = 50


def admit(services: Services, kind: str, email: str, client: str) -> bool:
    """Count one request for a mail and return False, with a log line, if it exceeds a limit.

    It counts for ``client`` with all kinds of mail, and for ``email`` with this kind. While the shared
    counters are unavailable, this process counts alone. The response to the client must not reveal the
    result.
    """
    # The client's limit is first, so that a client over its limit does not use up the limit of the address.
    for key, limit in ((f"mail:{client}", _MAX_PER_CLIENT), (f"mail:{kind}:{email}", _MAX_PER_ADDRESS)):
        hit = (key, limit, _WINDOW_SECONDS)
        # The recipient did not request the mail, so the limit also holds during an outage of the shared counters.
        window = services.counter.hit(*hit) or services.counter.hit_locally(*hit)
        if window.exceeded:
            _log.warning("mail_not_sent kind=%s reason=too_many_requests_per_hour", kind)
            return False
    return True
