"""Flask application whose views call the operation functions with the validated parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from connexion.apps.flask import FlaskApi, FlaskASGIApp
from connexion.context import context
from flask.json.provider import JSONProvider

from handlers.transport.json_encoding import json_text
from handlers.transport.parameters import QUERY
from handlers.transport.wsgi_bridge import WsgiBridge

if TYPE_CHECKING:
    from collections.abc import Callable

    from connexion.operations import AbstractOperation
    from connexion.spec import Specification

    from handlers.transport.threads import ThreadPool


class OperationsApp(FlaskASGIApp):  # type: ignore[misc]  # Connexion is untyped
    """Connexion's wrapper of a Flask application, ``app``, with one thread per request and compact JSON.

    Connexion makes Flask propagate exceptions: what an operation function raises passes ``WsgiBridge`` and reaches
    Connexion's ExceptionMiddleware, which calls the error handlers of ``handlers.app``.
    """

    def __init__(self, import_name: str, threads: ThreadPool) -> None:
        super().__init__(import_name, {"static_folder": None})
        self.app.json = CompactJsonProvider(self.app)
        self.asgi_app = WsgiBridge(self.app.wsgi_app, threads)

    def add_api(self, specification: Specification, **options: Any) -> DirectApi:
        """Register the specification's operations in Flask and return them."""
        api = DirectApi(specification, **options)
        self.app.register_blueprint(api.blueprint)
        return api


class DirectApi(FlaskApi):  # type: ignore[misc]
    """Connexion's FlaskApi decorates a function again for each request, parses forms where there are none,
    and validates parameters a second time. This takes longer than all the rest of a small request.
    """

    def make_operation(self, operation: AbstractOperation) -> Callable[..., Any]:
        """Return a Flask view that calls the operation function with path and query parameters."""
        function = operation.function

        def view(**path: Any) -> Any:
            return function(**path, **context[QUERY])

        return view


class CompactJsonProvider(JSONProvider):
    """Encoder of the dicts and lists that views return, with or without a status."""

    loads = staticmethod(json.loads)

    def dumps(self, obj: Any, **_options: Any) -> str:
        """Return compact JSON; Flask's options are ignored."""
        return json_text(obj)
