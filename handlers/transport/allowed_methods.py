"""Middleware that rejects unknown paths and methods before routing."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from handlers.transport.contract import BASE_PATH
from handlers.transport.envelope import TransportError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from handlers.transport.contract import Contract


class AllowedMethods:
    """404 for a path that is not in the contract, 405 with ``Allow`` for a method that its resource lacks.

    Connexion's router would pass an unknown path on to Flask's, which accepts more spellings of a path. It
    also matches only one method at a time, so its ``Allow`` is incomplete.
    """

    def __init__(self, app: ASGIApp, contract: Contract) -> None:
        self._app = app
        self._contract = contract

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request for a path and method of the contract, and every path outside the API.

        Raise TransportError 404 or 405.
        """
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{BASE_PATH}/"):
            allowed = self._contract.allowed_methods(scope["path"].removeprefix(BASE_PATH))
            if not allowed:
                raise TransportError(HTTPStatus.NOT_FOUND)
            if scope["method"] not in allowed:
                raise TransportError(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ", ".join(allowed)})
        await self._app(scope, receive, send)
