"""From Flask to the operation functions, called with the path's parameters and the query's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connexion.apps.flask import FlaskApi
from connexion.context import context
from flask.json.provider import JSONProvider

from handlers.transport.json_encoding import JsonText
from handlers.transport.validation import QUERY

if TYPE_CHECKING:
    from collections.abc import Callable

    from connexion.operations import AbstractOperation


class DirectApi(FlaskApi):  # type: ignore[misc]  # Connexion is untyped
    """Connexion's own decorates a function anew for each request, parses forms where there are none, and
    reads once more what has been validated: longer than all the rest of a small request.
    """

    def make_operation(self, operation: AbstractOperation) -> Callable[..., Any]:
        function = operation.function

        def view(**path: Any) -> Any:
            return function(**path, **context[QUERY])

        return view


class OurJson(JSONProvider):
    """For what views return; Flask itself makes answers of dicts, also with a status beside them."""

    dumps = staticmethod(JsonText.dumps)  # type: ignore[assignment]
    loads = staticmethod(JsonText.loads)
