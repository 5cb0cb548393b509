"""Client address and scheme from the headers of trusted proxies."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

_PEER = "uprez_peer"


def _normalized_address(client: tuple[str, int]) -> tuple[str, int] | None:
    """Return the client with its address in canonical form; None if it is no address and cannot be counted."""
    try:
        return str(ip_address(client[0])), client[1]
    except ValueError:
        return None


class TrustedProxies:
    """Set the client to the right-most address in X-Forwarded-For that is not a trusted proxy.

    The client itself may have written everything to the left of it. Set the scheme from X-Forwarded-Proto.
    Ignore X-Forwarded-Host: proxies pass Host on unchanged, or ``public_url`` is set. ``trusted`` are
    addresses and networks.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self._app = app
        self._proxy_headers: Any = ProxyHeadersMiddleware(self._normalize_client, list(trusted))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request with the scheme and client address that trusted proxies forwarded."""
        await self._proxy_headers({**scope, _PEER: scope.get("client")}, receive, send)

    async def _normalize_client(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request with the forwarded address in its normal form.

        If it is not an IP address, the peer's own address is used.
        """
        peer, client = scope.pop(_PEER), scope["client"]
        if client is not None and client is not peer:
            scope["client"] = _normalized_address(client) or peer
        await self._app(scope, receive, send)
