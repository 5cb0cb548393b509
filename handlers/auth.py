"""Operations of /auth: registration, login, email verification, password reset, token revocation."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import flask

from domain import accounts, password_reset
from domain.errors import InvalidFields
from handlers import shapes
from handlers.headers import location
from handlers.pages import verified_page
from handlers.request import client_address, origin, parsed_body, principal, services
from handlers.transport.envelope import Body, success

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.records import Account
    from handlers.transport.parsed_body import ParsedBody


def register() -> tuple[Body, int, Mapping[str, str]]:
    """Create an account and its first token, send a verification mail, and respond with 201.

    Raise InvalidFields, also for an address that has an account.
    """
    body = parsed_body()
    account, token = accounts.register(
        services(), body.fields, _device_name(body), client_address(), body.problems
    )
    created = success(
        "Registration successful. Please verify your email to access all features.",
        _account_with_token(account, token),
    )
    return created, HTTPStatus.CREATED, location("/user")


def login() -> Body:
    """Create a token, named after the device or the User-Agent, and respond with it and the account.

    Raise InvalidFields, and the errors of ``accounts.log_in``.
    """
    body = _valid_body()
    email, password = body.fields["email"], body.fields["password"]
    account, token = accounts.log_in(services(), email, password, _device_name(body), client_address())
    return success("Login successful", _account_with_token(account, token))


def logout() -> Body:
    """Revoke the token of this request; the account's other tokens stay valid."""
    accounts.log_out(services(), principal())
    return success("Logout successful")


def revoke_all_tokens() -> Body:
    """Revoke all tokens of the account, the current one included."""
    accounts.revoke_all(services(), principal().account)
    return success("All tokens revoked successfully")


def verify_email(id: int, hash: str) -> flask.Response:  # noqa: A002  # the contract's names
    """Verify the email address of a signed link. Respond with a page to browsers, with JSON to others.

    Raise InvalidLink. A second use of the link succeeds, too.
    """
    accounts.verify_email(services(), id, hash)
    if flask.request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return verified_page()
    return flask.jsonify(success("Email verified successfully"))


def resend_verification() -> Body:
    """Send a verification mail if the address has an unverified account; the response does not depend on it.

    Raise InvalidFields for a malformed body.
    """
    accounts.request_verification(services(), _valid_body().fields["email"], client_address())
    return success("If the address waits to be verified, a mail with a new link is on its way.")


def forgot_password() -> Body:
    """Send a mail with a reset token if the address has an account; the response does not depend on it.

    Raise InvalidFields for a malformed body.
    """
    password_reset.request(services(), _valid_body().fields["email"], client_address())
    return success("If the address has an account, a mail with a reset token is on its way.")


def reset_password() -> Body:
    """Set a new password, verify the address and revoke all tokens of the account.

    Raise InvalidFields, also for an invalid reset token.
    """
    body = parsed_body()
    password_reset.reset(services(), body.fields, body.problems)
    return success("Password reset successfully. All tokens are revoked.")


def _valid_body() -> ParsedBody:
    """Return the body. Raise InvalidFields if it has problems."""
    body = parsed_body()
    if body.problems:
        raise InvalidFields(body.problems)
    return body


def _device_name(body: ParsedBody) -> str:
    """Return the name for a new token: the body's, else the User-Agent, else ``unknown device``."""
    return body.fields.get("device_name") or flask.request.user_agent.string or "unknown device"


def _account_with_token(account: Account, token: str) -> dict[str, Any]:
    """Return the ``data`` of a registration or a login: the user, the new token and its type."""
    plan = services().plans[account.plan]
    return {"user": shapes.user(origin(), account, plan), "token": token, "token_type": "Bearer"}
