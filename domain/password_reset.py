"""Password reset: a signed token is sent by mail and sets a new password once."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

from domain import mail_requests
from domain.email_addresses import normalize_email
from domain.errors import FieldProblem, InvalidFields, InvalidLink
from domain.mail_texts import password_reset_mail
from domain.passwords import password_problems

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from domain.links import LinkSigner
    from domain.records import Account
    from domain.services import Services

_RESET = "reset-password"


def request(services: Services, email: str, client: str) -> None:
    """Send a reset token in the background if the address has an account.

    Neither the result nor the response time reveals whether it has one. The request is counted for the
    address and for ``client``, the client's address; above a limit, and for an invalid address, no mail is
    sent.
    """
    normalized = normalize_email(email)
    if normalized is not None and mail_requests.admit(services, _RESET, normalized, client):
        services.background(partial(_send_token, services, normalized))


def reset(
    services: Services, fields: Mapping[str, Any], schema_problems: Sequence[FieldProblem] = ()
) -> None:
    """Set the password, revoke every token of the account and mark its address as verified.

    The token was sent by mail, so its use proves that the user reads the mail of this address.
    ``schema_problems`` are the errors that the contract's schema found, ``fields`` are the fields without such an
    error; text of a wrong length is in both. Raise InvalidFields with all errors of all fields; the token is checked
    only if ``fields`` has the address too. The error is the same for a token that is wrong, used or expired and for an
    address without an account.
    """
    problems = list(schema_problems)
    owner = None
    if "token" in fields and "email" in fields:
        owner = _owner(services, fields["token"], fields["email"])
        if owner is None:
            problems.append(_unusable())
    if "password" in fields:
        problems += password_problems(fields["password"], fields.get("password_confirmation"))
    if problems or owner is None:
        raise InvalidFields(problems)
    password_hash = services.passwords.hash(fields["password"])
    now = services.clock.now()
    with services.database.writing() as work:
        work.accounts.lock(owner.id)
        current = work.accounts.get(owner.id)
        # A concurrent request has used the same token.
        if current is None or current.password_hash != owner.password_hash:
            raise InvalidFields([_unusable()])
        work.accounts.set_password(owner.id, password_hash, now)
        work.accounts.verify_email(owner.id, now)
        work.tokens.delete_all(owner.id)
        work.commit()


def token_for(links: LinkSigner, account: Account, expires_at: datetime) -> str:
    """Return a token that resets the account's password once before ``expires_at``."""
    return links.sign(_RESET, _claim(account), expires_at)


def _send_token(services: Services, email: str) -> None:
    """Send the mail with the token if the address has an account. Raise Unavailable when it cannot be sent."""
    with services.database.reading() as work:
        account = work.accounts.by_email(email)
    if account is None:
        return
    expires_at = services.clock.now() + services.policy.reset_link_lifetime
    url = f"{services.policy.origin}/api/auth/reset-password"
    token = token_for(services.links, account, expires_at)
    services.mailer.send(password_reset_mail(account, token, url, expires_at))


def _owner(services: Services, token: str, email: str) -> Account | None:
    """Return the account that the token was issued for, or None if the token is not valid for this address."""
    normalized = normalize_email(email)
    try:
        claim = services.links.read(_RESET, token, services.clock.now())
    except InvalidLink:
        return None
    with services.database.reading() as work:
        account = None if normalized is None else work.accounts.by_email(normalized)
    return account if account is not None and claim == _claim(account) else None


def _claim(account: Account) -> dict[str, Any]:
    """Return the contents of a reset token: the account, its address and a digest of its password hash."""
    # The claim contains a digest of the current password hash, so any change of the password ends the token.
    password = hashlib.sha256(account.password_hash.encode()).hexdigest()[:32]
    return {"id": account.id, "email": account.email, "password": password}


def _unusable() -> FieldProblem:
    """Return the problem of a token that is wrong, used or expired."""
    return FieldProblem("token", "invalid_or_expired")
