"""The application: the contract, routed by Connexion, within the middleware stack."""

from __future__ import annotations

import logging
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from connexion.datastructures import MediaTypeDict
from connexion.exceptions import ProblemException
from connexion.lifecycle import ConnexionResponse
from connexion.middleware import ConnexionMiddleware
from connexion.middleware.context import ContextMiddleware
from connexion.middleware.exceptions import ExceptionMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.request_validation import RequestValidationMiddleware
from connexion.middleware.routing import RoutingMiddleware
from connexion.middleware.security import SecurityMiddleware
from starlette.exceptions import HTTPException as StarletteHTTPException
from werkzeug.exceptions import HTTPException as WerkzeugHTTPException

from domain.errors import UprezError
from handlers.operator import add_health
from handlers.reference import add_reference
from handlers.request import SERVICES
from handlers.transport.allowed_methods import AllowedMethods
from handlers.transport.bodies import BODY_VALIDATORS
from handlers.transport.body_limits import BodyLimits
from handlers.transport.contract import BASE_PATH, load_contract
from handlers.transport.cors import CrossOrigin
from handlers.transport.edge import REQUEST_ID, Edge
from handlers.transport.envelope import ErrorResponse, TransportError, response_for_error
from handlers.transport.inline_reads import InlineReads
from handlers.transport.json_encoding import json_bytes
from handlers.transport.limit_headers import LimitHeaders
from handlers.transport.parameters import StrictParameters
from handlers.transport.proxies import TrustedProxies
from handlers.transport.public_rate_limit import PublicRateLimit
from handlers.transport.response_validation import ResponseBodyValidation
from handlers.transport.security import authenticate, bearer_handler, configure_bearer_auth
from handlers.transport.threads import ThreadPool
from handlers.transport.views import OperationsApp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from connexion.lifecycle import ConnexionRequest
    from starlette.types import ASGIApp

    from domain.services import Services

_log = logging.getLogger(__name__)

MIDDLEWARE: tuple[type, ...] = (
    TrustedProxies,  # only with UPREZ_TRUSTED_PROXIES
    CrossOrigin,  # only with UPREZ_CORS_ORIGINS
    Edge,
    LimitHeaders,
    ExceptionMiddleware,  # calls _handle_error
    AllowedMethods,
    RoutingMiddleware,
    PublicRateLimit,
    InlineReads,
    SecurityMiddleware,  # calls security.bearer_handler, unless the operation is public
    BodyLimits,
    RequestValidationMiddleware,  # calls StrictParameters, then one of BODY_VALIDATORS if the operation has a body
    ResponseBodyValidation,
    LifespanMiddleware,
    ContextMiddleware,
)
"""The whole stack, outermost first. ``OperationsApp`` is inside.

Connexion's own ServerErrorMiddleware and SwaggerUIMiddleware are left out: ``Edge`` handles crashes, and
``handlers.reference`` serves the reference pages.
"""


def create_app(
    services: Services,
    *,
    threads: int,
    body_timeout_seconds: float,
    check_responses: bool = False,
    cors_origins: Sequence[str] = (),
    trusted_proxies: Sequence[str] = (),
) -> ASGIApp:
    """Return the ASGI application of one process; it starts ``threads`` threads for its operations.

    ``body_timeout_seconds`` bounds the wait for each part of a body. ``check_responses`` validates the bodies
    of the operations' own responses against the contract; a violation becomes a 500. Without ``cors_origins``
    or ``trusted_proxies``, the layer for them is left out.
    """
    contract, pool = load_contract(), ThreadPool(threads)
    operations = OperationsApp(__name__, pool)
    flask_app = operations.app
    flask_app.extensions[SERVICES] = services
    flask_app.register_error_handler(WerkzeugHTTPException, _raise_transport_error)
    auth = configure_bearer_auth(flask_app, services, pool)
    options: dict[type, dict[str, Any]] = {
        LimitHeaders: {"contract": contract, "services": services, "threads": pool},
        AllowedMethods: {"contract": contract},
        PublicRateLimit: {
            "contract": contract,
            "services": services,
            "threads": pool,
            "authenticate": partial(authenticate, flask_app, auth),
        },
        InlineReads: {"contract": contract, "lookups_on_loop": services.database.has_nonblocking_reads},
        BodyLimits: {"contract": contract, "timeout_seconds": body_timeout_seconds},
    }
    if trusted_proxies:
        options[TrustedProxies] = {"trusted": trusted_proxies}
    if cors_origins:
        options[CrossOrigin] = {"origins": cors_origins}
    app = ConnexionMiddleware(operations, import_name=__name__, middlewares=_with_options(options))
    # ExceptionMiddleware calls the handler for what any layer inside it raises, operation functions included.
    for kind in (UprezError, StarletteHTTPException, ProblemException, Exception):
        app.add_error_handler(kind, _handle_error)
    app.add_api(
        contract.exact,
        base_path=BASE_PATH,
        validate_responses=check_responses,
        validator_map={"parameter": StrictParameters, "body": MediaTypeDict(BODY_VALIDATORS)},
        security_map={"bearer": bearer_handler(flask_app, auth, services, pool, contract)},
    )
    add_health(flask_app)
    add_reference(flask_app, contract)
    return cast("ASGIApp", app)


def _with_options(options: Mapping[type, Mapping[str, Any]]) -> list[Any]:
    """Return ``MIDDLEWARE`` with constructor options, without the optional layers that have none."""
    return [
        partial(layer, **options[layer]) if layer in options else layer
        for layer in MIDDLEWARE
        if layer in options or layer not in {TrustedProxies, CrossOrigin}
    ]


def _raise_transport_error(error: WerkzeugHTTPException) -> None:
    """Convert Flask's error and keep its headers, which Connexion's own handler would drop."""
    headers = dict(error.get_headers())
    headers.pop("Content-Type", None)
    raise TransportError(error.code or HTTPStatus.INTERNAL_SERVER_ERROR, headers)


# Connexion would run a function that is not async on another thread.
async def _handle_error(request: ConnexionRequest, error: Exception) -> ConnexionResponse:
    """Return the response to an exception, and log it if its status is 500 or more."""
    response = _response_for(error)
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # The response does not have the reason, so that the log must have it, for an outage too.
        level = logging.ERROR if response.status == HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING
        request_id = request.scope["extensions"][REQUEST_ID]
        _log.log(level, "request_failed request_id=%s status=%d", request_id, response.status, exc_info=error)
    return ConnexionResponse(
        status_code=response.status,
        mimetype="application/json",
        content_type="application/json",
        headers=dict(response.headers),
        body=json_bytes(response.body),
    )


def _response_for(error: Exception) -> ErrorResponse:
    """Return status, headers and envelope of the error.

    Starlette's errors keep status and headers, Connexion's their status only. An error that is not the
    domain's becomes a 500 without its text.
    """
    match error:
        case StarletteHTTPException():
            return response_for_error(TransportError(error.status_code, error.headers))
        case ProblemException():
            return response_for_error(TransportError(error.status))
    return response_for_error(error)
