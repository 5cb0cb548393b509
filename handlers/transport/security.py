"""Bearer authentication, and authorization with the scopes of the contract.

Flask-HTTPAuth decides; Connexion calls it before the body is read. ``openapi.yaml`` lists an operation's scopes in
``x-uprez-requires``; the first missing scope decides the error. The request is also counted here, for the rate limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import flask
from connexion.security import AbstractSecurityHandler
from flask_httpauth import HTTPTokenAuth
from werkzeug.datastructures import Authorization

from domain import authorization, tokens
from domain.errors import Unauthenticated
from handlers.transport.contract import operation_id
from handlers.transport.rate_limit import client_address, count_request
from handlers.transport.request_context import request_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from connexion.lifecycle import ConnexionRequest

    from domain.records import Principal
    from domain.services import Services
    from handlers.transport.contract import Contract
    from handlers.transport.threads import ThreadPool

SCHEME = "Bearer"
PRINCIPAL = "uprez_principal"
"""Key in the request's context, set once the request is authenticated, also if it is then denied."""


def current_principal() -> Principal:
    """Return the principal, where Flask-HTTPAuth keeps it; ``_expose_principal`` sets it from the request context."""
    return cast("Principal", flask.g.flask_httpauth_user)


def configure_bearer_auth(app: flask.Flask, services: Services, threads: ThreadPool) -> HTTPTokenAuth:
    """Return an authenticator for this application's tokens, and make Flask expose each request's principal."""
    auth = HTTPTokenAuth(SCHEME)

    @auth.verify_token  # type: ignore[untyped-decorator]
    def _verify(plain: str) -> Principal | None:
        """Return the principal of a token; None for one that is unknown, expired or revoked."""
        now = services.clock.now()
        try:
            return tokens.authenticate(services.database, plain, now, threads.run_in_background)
        except Unauthenticated:
            return None

    @auth.get_user_roles  # type: ignore[untyped-decorator]
    def _roles(principal: Principal) -> list[str]:
        """Return the scopes that the principal has."""
        return authorization.granted_scopes(services, principal)

    @app.before_request
    def _expose_principal() -> None:
        """Give Flask the principal that was found before the body was read; none for a public operation."""
        principal = request_context(flask.request.environ["asgi.scope"]).get(PRINCIPAL)
        if principal is not None:
            flask.g.flask_httpauth_user = principal

    return auth


def authenticate(app: flask.Flask, auth: HTTPTokenAuth, header: str | None) -> Principal | None:
    """Return the principal of an Authorization header; None without a valid token."""
    if header is None:
        return None
    with app.app_context():
        return cast("Principal | None", auth.authenticate(_parse_bearer(header), None))


def bearer_handler(
    app: flask.Flask, auth: HTTPTokenAuth, services: Services, threads: ThreadPool, contract: Contract
) -> type[AbstractSecurityHandler]:
    """Return the class that Connexion instantiates for every operation with a bearer requirement."""

    def authorize(
        header: str | None, required: Sequence[str], context: dict[str, Any], address: str
    ) -> Principal:
        """Return the principal of a request with all required scopes.

        Store it in the context and count the request. Raise TooManyRequests, Unauthenticated, or the denial
        for the first missing scope, in this order.
        """
        with app.app_context():
            principal = auth.authenticate(_parse_bearer(header), None)
            if principal is not None:
                context[PRINCIPAL] = principal
            count_request(services, context, principal, address)
            if principal is None:
                raise Unauthenticated
            # Flask-HTTPAuth requires all roles of a tuple within the list.
            if required and not auth.authorize([tuple(required)], principal, None):
                raise authorization.denial_for(required, authorization.granted_scopes(services, principal))
            return cast("Principal", principal)

    class BearerToken(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion is untyped
        def get_fn(self, _scheme: dict[str, Any], _scopes: Sequence[str]) -> Callable[..., Any]:
            """Return a function that runs ``authorize`` for a request, on a thread.

            OpenAPI 3.0 has no scopes for this scheme, so the contract lists them in another key.
            """

            async def verify(request: ConnexionRequest) -> dict[str, Any]:
                """Run ``authorize`` on a thread and return the token information that Connexion expects.

                An inline read runs it directly. Raise what ``authorize`` raises.
                """
                header = request.headers.get("Authorization")
                scope = request.scope
                required = contract.required_scopes(operation_id(scope) or "")
                address = client_address(scope)
                principal = await threads.run(authorize, header, required, request_context(scope), address)
                return {"sub": principal.account.id}

            return verify

    return BearerToken


def _parse_bearer(header: str | None) -> Authorization | None:
    """Return the token of an Authorization header; None without one or for another scheme."""
    kind, _, token = (header or "").partition(" ")
    return Authorization("bearer", token=token.strip()) if kind.lower() == "bearer" else None
