"""/auth: accounts come in and tokens go out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flask

from domain import accounts, password_reset
from domain.errors import InvalidFields
from handlers import shapes
from handlers.pages import verified_page
from handlers.request import client_address, origin, principal, services, submitted
from handlers.transport.envelope import Body, success

if TYPE_CHECKING:
    from domain.records import Account
    from handlers.transport.validation import Submitted


def register() -> tuple[Body, int]:
    form = submitted()
    account, token = accounts.register(
        services(), form.fields, _device_name(form), client_address(), form.problems
    )
    return success(
        "Registration successful. Please verify your email to access all features.",
        _account_with_token(account, token),
    ), 201


def login() -> Body:
    form = _faultless()
    email, password = form.fields["email"], form.fields["password"]
    account, token = accounts.log_in(services(), email, password, _device_name(form), client_address())
    return success("Login successful", _account_with_token(account, token))


def logout() -> Body:
    accounts.log_out(services(), principal())
    return success("Logout successful")


def revoke_all_tokens() -> Body:
    accounts.revoke_all(services(), principal().account)
    return success("All tokens revoked successfully")


def verify_email(id: int, hash: str) -> flask.Response:  # noqa: A002  # the contract's names
    accounts.verify_email(services(), id, hash)
    if flask.request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return verified_page()
    return flask.jsonify(success("Email verified successfully"))


def resend_verification() -> Body:
    accounts.request_verification(services(), _faultless().fields["email"], client_address())
    return success("If the address waits to be verified, a mail with a new link is on its way.")


def forgot_password() -> Body:
    password_reset.request(services(), _faultless().fields["email"], client_address())
    return success("If the address has an account, a mail with a reset token is on its way.")


def reset_password() -> Body:
    form = submitted()
    password_reset.reset(services(), form.fields, form.problems)
    return success("Password reset successfully. All tokens are revoked.")


def _faultless() -> Submitted:
    form = submitted()
    if form.problems:
        raise InvalidFields(form.problems)
    return form


def _device_name(form: Submitted) -> str:
    return form.fields.get("device_name") or flask.request.user_agent.string or "unknown device"


def _account_with_token(account: Account, token: str) -> dict[str, Any]:
    plan = services().plans[account.plan]
    return {"user": shapes.user(origin(), account, plan), "token": token, "token_type": "Bearer"}
