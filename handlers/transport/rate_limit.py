"""Hourly rate limit: counts a request, by account if its token is valid, otherwise by address.

A request is counted at most once: ``security`` counts the operations that need a token, ``public_rate_limit`` the
others. Operations that the contract exempts are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain import hourly_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.records import Principal
    from domain.services import Services

WINDOW = "uprez_hourly_window"
"""Key in the request's context: the state of the limit after this request, for the response headers."""


def count_request(
    services: Services, context: dict[str, Any], principal: Principal | None, address: str
) -> None:
    """Count the request and store its window in the context as ``WINDOW``.

    The count is the account's, or the address's if ``principal`` is None. Raise TooManyRequests if the limit
    is exceeded; the window is stored then, too.
    """
    window = hourly_limit.count(services, hourly_limit.allowance(services, principal, address))
    context[WINDOW] = window
    hourly_limit.admit(window)


def client_address(scope: Mapping[str, Any]) -> str:
    """Return the address of the connection's peer, or the one that a trusted proxy forwarded."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
