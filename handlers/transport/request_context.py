"""The context of a request: values that a layer stores for the layers inside it and for the operation function.

``Edge`` creates it for each request. Connexion's ``ContextMiddleware`` provides the same dictionary to operation
functions as ``connexion.context.context``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTEXT = "connexion_context"
"""Key in the scope's extensions; Connexion's name."""


def request_context(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the request with this ASGI scope. Raise KeyError outside ``Edge``."""
    context: dict[str, Any] = scope["extensions"][CONTEXT]
    return context
