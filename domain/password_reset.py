"""A forgotten password: a token goes to the address, and whoever reads its mail sets a new one with it."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

from domain import mail_requests
from domain.accounts import normalize_email
from domain.errors import FieldProblem, InvalidFields, InvalidLink
from domain.passwords import password_problems
from domain.ports import Mail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from domain.links import LinkSigner
    from domain.records import Account
    from domain.services import Services

_RESET = "reset-password"


def request(services: Services, email: str, client: str) -> None:
    """A token is on its way if the address has an account; nothing here tells, neither result nor time."""
    known_as = normalize_email(email)
    if known_as is not None and mail_requests.admitted(services, _RESET, known_as, client):
        services.background(partial(_send_token, services, known_as))


def reset(services: Services, fields: Mapping[str, Any], known: Sequence[FieldProblem] = ()) -> None:
    """Sets the password, ends every token of the account, and counts its address as verified.

    The token came by mail, so that whoever has it reads the mail of this address. ``fields`` are those that the
    contract's schema accepted, ``known`` the problems of the others. Raises InvalidFields with all of them and ours;
    a token that is wrong, used or expired and an address without an account are told apart by nothing.
    """
    problems = list(known)
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
        if current is None or current.password_hash != owner.password_hash:
            raise InvalidFields([_unusable()])  # another request was quicker with the same token
        work.accounts.set_password(owner.id, password_hash, now)
        work.accounts.verify_email(owner.id, now)
        work.tokens.delete_all(owner.id)
        work.commit()


def token_for(links: LinkSigner, account: Account, expires_at: datetime) -> str:
    return links.sign(_RESET, _claim(account), expires_at)


def _send_token(services: Services, email: str) -> None:
    """Raises Unavailable."""
    with services.database.reading() as work:
        account = work.accounts.by_email(email)
    if account is None:
        return
    expires_at = services.clock.now() + services.policy.reset_link_lifetime
    # Until its owner has proved it, the address may be anybody's, and the name a message to him.
    greeting = "Hello" if account.email_verified_at is None else f"Hello {account.name}"
    services.mailer.send(
        Mail(
            to=account.email,
            subject="Your new password",
            text=(
                f"{greeting},\n\n"
                "somebody, we hope you, asked for a new password for your account at Uprez. "
                f"With this token it can be set:\n\n{token_for(services.links, account, expires_at)}\n\n"
                "Send it as token, with your email, the new password and password_confirmation, as JSON by POST to\n\n"
                f"{services.policy.origin}/api/auth/reset-password\n\n"
                f"It is good once, until {expires_at:%Y-%m-%d %H:%M} UTC. If it was not you, ignore this mail: "
                "your password stays as it is.\n"
            ),
        )
    )


def _owner(services: Services, token: str, email: str) -> Account | None:
    known_as = normalize_email(email)
    try:
        claim = services.links.read(_RESET, token, services.clock.now())
    except InvalidLink:
        return None
    with services.database.reading() as work:
        account = None if known_as is None else work.accounts.by_email(known_as)
    return account if account is not None and claim == _claim(account) else None


def _claim(account: Account) -> dict[str, Any]:
    # With the password it is to replace: the token ends with its first use, and with every other change.
    password = hashlib.sha256(account.password_hash.encode()).hexdigest()[:32]
    return {"id": account.id, "email": account.email, "password": password}


def _unusable() -> FieldProblem:
    return FieldProblem("token", "unusable")
