"""From a bearer token to a principal, checked against what the contract says an operation needs.

Flask-HTTPAuth decides; Connexion asks it before anything of the body is read. The needs stand in
``openapi.yaml`` as the scopes of the bearer requirement, in the order in which a lack is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import flask
from connexion.security import AbstractSecurityHandler
from flask_httpauth import HTTPTokenAuth
from werkzeug.datastructures import Authorization

from domain import authorization, tokens
from domain.errors import Unauthenticated
from handlers.transport.rate_limit import client_address, count_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from connexion.lifecycle import ConnexionRequest

    from domain.records import Principal
    from domain.services import Services
    from handlers.transport.threads import Threads

SCHEME = "Bearer"
PRINCIPAL = "uprez_principal"
"""Where the request's context has who asks: from the moment it is known, also when it is then refused."""


def current_principal() -> Principal:
    """Where Flask-HTTPAuth's own ``current_user`` looks."""
    return cast("Principal", flask.g.flask_httpauth_user)


def use_bearer_tokens(app: flask.Flask, services: Services, threads: Threads) -> HTTPTokenAuth:
    """Teaches Flask-HTTPAuth our tokens, those of this application alone, and shows each handler who asks."""
    auth = HTTPTokenAuth(SCHEME)

    @auth.verify_token  # type: ignore[untyped-decorator]
    def _verify(plain: str) -> Principal | None:
        try:
            return tokens.authenticate(services.database, plain, services.clock.now(), threads.aside)
        except Unauthenticated:
            return None

    @auth.get_user_roles  # type: ignore[untyped-decorator]
    def _roles(principal: Principal) -> list[str]:
        return authorization.granted_scopes(services, principal)

    @app.before_request
    def _show_principal() -> None:
        principal = _context(flask.request.environ["asgi.scope"]).get(PRINCIPAL)
        if principal is not None:
            flask.g.flask_httpauth_user = principal

    return auth


def who_asks(app: flask.Flask, auth: HTTPTokenAuth, header: str | None) -> Principal | None:
    """Where no token is needed: None without a valid one."""
    if header is None:
        return None
    with app.app_context():
        return cast("Principal | None", auth.authenticate(_bearer(header), None))


def bearer_handler(
    app: flask.Flask, auth: HTTPTokenAuth, services: Services, threads: Threads
) -> type[AbstractSecurityHandler]:
    """The class that Connexion makes an instance of for every operation with a bearer requirement."""

    def check(
        header: str | None, required: Sequence[str], context: dict[str, Any], address: str
    ) -> Principal:
        with app.app_context():
            principal = auth.authenticate(_bearer(header), None)
            if principal is not None:
                context[PRINCIPAL] = principal
            count_request(services, context, principal, address)
            if principal is None:
                raise Unauthenticated
            # A tuple within the list means all of them; nothing required, nothing asked.
            if required and not auth.authorize([tuple(required)], principal, None):
                raise authorization.denial_for(required, authorization.granted_scopes(services, principal))
            return cast("Principal", principal)

    class BearerToken(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion is untyped
        def get_fn(self, _scheme: dict[str, Any], required: Sequence[str]) -> Callable[..., Any]:
            async def verify(request: ConnexionRequest) -> dict[str, Any]:
                header = request.headers.get("Authorization")
                scope = request.scope
                principal = await threads.run(check, header, required, _context(scope), client_address(scope))
                return {"sub": principal.account.id}

            return verify

    return BearerToken


def _context(asgi_scope: Mapping[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", asgi_scope["extensions"]["connexion_context"])


def _bearer(header: str | None) -> Authorization | None:
    kind, _, token = (header or "").partition(" ")
    return Authorization("bearer", token=token.strip()) if kind.lower() == "bearer" else None
