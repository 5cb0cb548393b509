"""The clients that a run can send requests as, other than the owner of ``--token``."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.client import Client, retry_after
from conformance.verdicts import Skipped

if TYPE_CHECKING:
    from conformance.client import Response, Transport
    from conformance.exchanges import Exchange
    from conformance.options import Options

# A server may accept only this many requests an hour without a valid token. The core profile needs no more.
ANONYMOUS_REQUESTS = 10
_SHORT_PAUSE_SECONDS = 5.0  # an hourly limit rarely ends this soon


class Callers:
    """A second account, credentials, and requests without a valid token."""

    def __init__(self, transport: Transport, options: Options) -> None:
        self._transport = transport
        self._options = options
        self.anonymous = Client(transport, None)

    @property
    def other(self) -> Client:
        """Return a client of the second account. Raise Skipped without ``--token-b``."""
        if self._options.token_b is None:
            raise Skipped("Needs a token of a second account: --token-b.")
        return Client(self._transport, self._options.token_b)

    @property
    def credentials(self) -> tuple[str, str]:
        """Return email address and password of the first account. Raise Skipped without them."""
        if self._options.email is None or self._options.password is None:
            raise Skipped("Needs an account's --email and --password.")
        return self._options.email, self._options.password

    @property
    def anonymous_left(self) -> int:
        """Return how many more requests without a valid token every server has to accept in this run.

        The number may be negative. Only the requests in the record of the run's transport count.
        """
        return ANONYMOUS_REQUESTS - sum(map(_is_anonymous, self._transport.exchanges))

    def with_token(self, token: str | None) -> Client:
        """Return a client that sends this token."""
        return Client(self._transport, token)

    def request_anonymously(
        self, method: str, path: str, authorization: str | None = None, **body: Any
    ) -> Response:
        """Return the response to a request without a valid token; ``authorization`` is the header as sent.

        Repeat it once after a 429 with a Retry-After of at most 5 seconds; return any other 429 without
        waiting. ``body`` is that of ``Transport.send``. Raise Inconclusive without a response.
        """
        headers = {} if authorization is None else {"Authorization": authorization}
        response = self._transport.send(method, path, headers=headers, wait_on_429=False, **body)
        pause = retry_after(response) if response.status == HTTPStatus.TOO_MANY_REQUESTS else None
        if pause is None or pause > _SHORT_PAUSE_SECONDS:
            return response
        time.sleep(pause)
        return self._transport.send(method, path, headers=headers, wait_on_429=False, **body)


def _is_anonymous(exchange: Exchange) -> bool:
    """Return whether a server counts the request as anonymous.

    With an Authorization header: if the status is 401. Without: always, except a GET with a status other than
    401, 404 and 429 (the download of a signed file) or without a response.
    """
    if "Authorization" in exchange.request_headers:
        return exchange.status == HTTPStatus.UNAUTHORIZED
    return exchange.method != "GET" or exchange.status in {401, 404, 429}
