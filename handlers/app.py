"""The application: the contract, routed by Connexion, within layers that make every answer an envelope."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import connexion
from connexion.datastructures import MediaTypeDict
from connexion.exceptions import ProblemException
from connexion.lifecycle import ConnexionResponse
from connexion.middleware import ConnexionMiddleware, MiddlewarePosition
from connexion.middleware.response_validation import ResponseValidationMiddleware
from connexion.middleware.server_error import ServerErrorMiddleware
from connexion.middleware.swagger_ui import SwaggerUIMiddleware
from starlette.exceptions import HTTPException as StarletteHTTPException
from werkzeug.exceptions import HTTPException as WerkzeugHTTPException

from domain.errors import UprezError
from handlers.operator import add_health
from handlers.reference import add_reference
from handlers.request import SERVICES
from handlers.transport.contract import BASE_PATH, load_contract
from handlers.transport.cors import CrossOrigin
from handlers.transport.edge import REQUEST_ID, Edge
from handlers.transport.envelope import Answer, TransportError, answer_to
from handlers.transport.json_encoding import json_bytes
from handlers.transport.middleware import BodyLimits, LimitHeaders, Methods
from handlers.transport.proxies import TrustedProxies
from handlers.transport.rate_limit import AnonymousRateLimit
from handlers.transport.response_validation import BodyCheck
from handlers.transport.security import bearer_handler, use_bearer_tokens, who_asks
from handlers.transport.threads import InlineReads, Threads
from handlers.transport.validation import BODY_VALIDATORS, StrictParameters
from handlers.transport.views import DirectApi, OurJson
from handlers.transport.wsgi_bridge import FlaskBridge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connexion.lifecycle import ConnexionRequest
    from connexion.spec import Specification
    from flask import Flask
    from starlette.types import ASGIApp

    from domain.services import Services

_log = logging.getLogger(__name__)

_MIDDLEWARES = [
    BodyCheck if middleware is ResponseValidationMiddleware else middleware
    for middleware in ConnexionMiddleware.default_middlewares
    # The edge answers crashes, and the reference pages are none of Connexion's.
    if middleware not in {ServerErrorMiddleware, SwaggerUIMiddleware}
]


def create_app(
    services: Services,
    *,
    threads: int,
    body_timeout_seconds: float,
    check_responses: bool = False,
    cors_origins: Sequence[str] = (),
    trusted_proxies: Sequence[str] = (),
) -> ASGIApp:
    """The ASGI application; one for each process."""
    contract, pool = load_contract(), Threads(threads)
    app = connexion.FlaskApp(__name__, middlewares=list(_MIDDLEWARES), server_args={"static_folder": None})
    app.app.extensions[SERVICES] = services
    app.app.json = OurJson(app.app)
    inner = app._middleware_app  # noqa: SLF001  # no other way in
    inner.asgi_app = FlaskBridge(app.app.wsgi_app, pool)
    inner.add_api = partial(_add_api, app.app)
    auth = use_bearer_tokens(app.app, services, pool)
    app.app.register_error_handler(WerkzeugHTTPException, _raise_further)
    for kind in (UprezError, StarletteHTTPException, ProblemException, Exception):
        app.add_error_handler(kind, _answer)
    app.add_middleware(
        LimitHeaders,
        MiddlewarePosition.BEFORE_EXCEPTION,
        contract=contract,
        services=services,
        threads=pool,
    )
    app.add_middleware(
        AnonymousRateLimit,
        MiddlewarePosition.BEFORE_SECURITY,
        contract=contract,
        services=services,
        threads=pool,
        who_asks=partial(who_asks, app.app, auth),
    )
    app.add_middleware(
        InlineReads,
        MiddlewarePosition.BEFORE_SECURITY,
        contract=contract,
        reads_at_once=services.database.reads_at_once,
    )
    app.add_middleware(Methods, MiddlewarePosition.BEFORE_ROUTING, contract=contract)
    app.add_middleware(
        BodyLimits,
        MiddlewarePosition.BEFORE_VALIDATION,
        contract=contract,
        timeout_seconds=body_timeout_seconds,
    )
    app.add_api(
        contract.document,
        base_path=BASE_PATH,
        validate_responses=check_responses,
        validator_map={"parameter": StrictParameters, "body": MediaTypeDict(BODY_VALIDATORS)},
        security_map={"bearer": bearer_handler(app.app, auth, services, pool)},
    )
    add_health(app.app)
    add_reference(app.app, contract)
    whole: ASGIApp = CrossOrigin(Edge(app), cors_origins) if cors_origins else Edge(app)
    return TrustedProxies(whole, trusted_proxies) if trusted_proxies else whole


def _add_api(app: Flask, specification: Specification, **options: Any) -> DirectApi:
    api = DirectApi(specification, **options)
    app.register_blueprint(api.blueprint)
    return api


def _raise_further(error: WerkzeugHTTPException) -> None:
    """Out of Flask with its headers, which Connexion's own handler would drop."""
    headers = dict(error.get_headers())
    headers.pop("Content-Type", None)
    raise TransportError(error.code or 500, headers)


# Not async, Starlette would run it on a thread of its own.
async def _answer(request: ConnexionRequest, error: Exception) -> ConnexionResponse:
    answer = _translate(error)
    if answer.status >= 500:  # noqa: PLR2004
        # The client reads no reason; whoever runs this finds it here, also when it is only an outage.
        level = logging.ERROR if answer.status == 500 else logging.WARNING  # noqa: PLR2004
        request_id = request.scope["extensions"][REQUEST_ID]
        _log.log(level, "Request %s was answered with %d.", request_id, answer.status, exc_info=error)
    return ConnexionResponse(
        status_code=answer.status,
        mimetype="application/json",
        content_type="application/json",
        headers=dict(answer.headers),
        body=json_bytes(answer.body),
    )


def _translate(error: Exception) -> Answer:
    match error:
        case StarletteHTTPException():
            return answer_to(TransportError(error.status_code, error.headers))
        case ProblemException():
            return answer_to(TransportError(error.status))
    return answer_to(error)
