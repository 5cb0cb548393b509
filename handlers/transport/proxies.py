"""Behind proxies that the operator named: the client's address and scheme are what the nearest of them says."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

_PEER = "uprez_peer"


class TrustedProxies:
    """The client is the right-most address in X-Forwarded-For that is no trusted proxy's: everything to the
    left of it is the client's own word. X-Forwarded-Proto is believed too; X-Forwarded-Host never is, since
    proxies pass on Host as it came, or ``public_url`` is set.

    ``trusted`` are addresses and networks.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self._app = app
        self._believe: Any = ProxyHeadersMiddleware(self._go_on, list(trusted))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._believe({**scope, _PEER: scope.get("client")}, receive, send)

    async def _go_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer, client = scope.pop(_PEER), scope["client"]
        if client is not None and client is not peer:
            scope["client"] = _address(client) or peer
        await self._app(scope, receive, send)


def _address(client: tuple[str, int]) -> tuple[str, int] | None:
    """In its one spelling; None for what is no address, by which nobody could be counted."""
    try:
        return str(ip_address(client[0])), client[1]
    except ValueError:
        return None
