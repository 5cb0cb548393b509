"""Accounts: registration, email verification, login and logout."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from domain import login_attempts, mail_requests, tokens
from domain.email_addresses import normalize_email
from domain.errors import (
    EmailNotVerified,
    EmailTaken,
    FieldProblem,
    InvalidFields,
    InvalidLink,
    NotFound,
    WrongCredentials,
)
from domain.mail_texts import verification_mail
from domain.passwords import password_problems
from domain.records import SubscriptionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from domain.records import Account, Principal
    from domain.services import Services

_VERIFY_EMAIL = "verify-email"
_FORBIDDEN_IN_NAME = {"Cc", "Zl", "Zp"}
"""Unicode categories of control characters and line breaks; `Registration.name` in the contract lists them."""


def register(
    services: Services,
    fields: Mapping[str, Any],
    device_name: str,
    client: str,
    schema_problems: Sequence[FieldProblem] = (),
) -> tuple[Account, str]:
    """Create an account on the default plan and return it with its first token in plain text.

    ``fields`` are the fields that the contract's schema accepted, ``schema_problems`` are the errors of the
    others. ``client`` is the client's address. A background task sends the verification mail, unless this
    client or this address has requested too many; the request is counted. The account is unverified and has
    no subscription. Raise InvalidFields with all errors of all fields.
    """
    email = normalize_email(fields.get("email"))
    problems = [*schema_problems, *_registration_problems(services, fields, email)]
    if problems or email is None:
        raise InvalidFields(problems)
    password_hash = services.passwords.hash(fields["password"])
    plan = services.policy.default_plan
    account, token = create(
        services,
        name=fields["name"],
        email=email,
        password_hash=password_hash,
        plan=plan,
        device_name=device_name,
    )
    # A failed mail must not fail the request: the account exists, so a second attempt would find the address taken.
    if mail_requests.admit(services, _VERIFY_EMAIL, email, client):
        services.background(partial(send_verification, services, account))
    return account, token


def create(
    services: Services,
    *,
    name: str,
    email: str,
    password_hash: str,
    plan: str,
    device_name: str,
    verified: bool = False,
    subscribed: bool = False,
) -> tuple[Account, str]:
    """Create an account and return it with its first token in plain text.

    ``email`` must be normalized. ``verified`` marks it as verified now, ``subscribed`` adds an active
    subscription if the plan is not free. Raise InvalidFields if the address has an account, and PlansError if
    ``subscribed`` is set and there is no such plan; otherwise the plan is not checked.
    """
    now = services.clock.now()
    try:
        with services.database.writing() as work:
            account = work.accounts.add(
                name=name,
                email=email,
                password_hash=password_hash,
                plan=plan,
                verified_at=now if verified else None,
                now=now,
            )
            if subscribed and not services.plans[plan].is_free:
                subscription = work.subscriptions.put(account.id, SubscriptionStatus.ACTIVE, now=now)
                account = replace(account, subscription=subscription)
            token = tokens.issue(work, services.random_source, account, device_name, now)
            work.commit()
    except EmailTaken:
        raise InvalidFields([FieldProblem("email", "taken")]) from None
    return account, token


def log_in(
    services: Services, email: str, password: str, device_name: str, address: str
) -> tuple[Account, str]:
    """Check the credentials and return the account with a new token in plain text.

    ``address`` is the client's. A wrong password or an unknown address counts as a failed login. Raise
    WrongCredentials, also if the password changes meanwhile; EmailNotVerified if the password is correct but
    the address is not verified; and TooManyFailedLogins after too many failures, even if the password is
    correct.
    """
    normalized = normalize_email(email)
    counted_email = normalized or email.strip().lower()  # all spellings of one address share one limit
    login_attempts.require_below_limit(services, address, counted_email)
    with services.database.reading() as work:
        account = None if normalized is None else work.accounts.by_email(normalized)
    if not services.passwords.matches(password, account.password_hash if account else None):
        login_attempts.record_failure(services, address, counted_email)
        raise WrongCredentials
    assert account is not None
    login_attempts.require_below_limit(services, address, counted_email)
    if account.email_verified_at is None:
        raise EmailNotVerified
    now = services.clock.now()
    with services.database.writing() as work:
        work.accounts.lock(account.id)
        current = work.accounts.get(account.id)
        # A login with the old password must not outlive a password reset that was committed in between.
        if current is None or current.password_hash != account.password_hash:
            raise WrongCredentials
        token = tokens.issue(work, services.random_source, account, device_name, now)
        work.commit()
    return account, token


def log_out(services: Services, principal: Principal) -> None:
    """Revoke the token of this request; nothing happens if it is already revoked."""
    with services.database.writing() as work:
        # With the account locked, no concurrent request creates another token from this one.
        work.accounts.lock(principal.account.id)
        work.tokens.delete(principal.token.id)
        work.commit()


def revoke_all(services: Services, account: Account) -> None:
    """Revoke every token of the account, including one that a concurrent request creates."""
    with services.database.writing() as work:
        work.accounts.lock(account.id)
        work.tokens.delete_all(account.id)
        work.commit()


def request_verification(services: Services, email: str, client: str) -> None:
    """Send a new verification link in the background if the address has an unverified account.

    Neither the result nor the response time reveals whether it has one. The request is counted for the
    address and for ``client``, the client's address; above a limit, and for an invalid address, no mail is
    sent.
    """
    normalized = normalize_email(email)
    if normalized is not None and mail_requests.admit(services, _VERIFY_EMAIL, normalized, client):
        services.background(partial(_send_another_verification, services, normalized))


def send_verification(services: Services, account: Account) -> None:
    """Send the mail with the link that verifies the account's address. Raise Unavailable when it cannot be sent."""
    expires_at = services.clock.now() + services.policy.verification_link_lifetime
    signed = services.links.sign(_VERIFY_EMAIL, {"id": account.id, "email": account.email}, expires_at)
    link = f"{services.policy.origin}/api/auth/verify-email/{account.id}/{signed}"
    services.mailer.send(verification_mail(account, link, expires_at))


def verify_email(services: Services, account_id: int, signed: str) -> None:
    """Mark the account's address as verified; nothing changes if it is already.

    ``signed`` is the last part of the link's path. Raise InvalidLink if it was changed, has expired, or was
    issued for another account or another address, and if there is no such account.
    """
    now = services.clock.now()
    claim = services.links.read(_VERIFY_EMAIL, signed, now)
    with services.database.writing() as work:
        account = work.accounts.get(account_id)
        if account is None or claim != {"id": account.id, "email": account.email}:
            raise InvalidLink
        work.accounts.verify_email(account.id, now)
        work.commit()


def get_by_email(services: Services, email: str) -> Account:
    """Return the account of this address in any spelling. Raise NotFound, with a message for the operator."""
    normalized = normalize_email(email)
    with services.database.reading() as work:
        account = None if normalized is None else work.accounts.by_email(normalized)
    if account is None:
        raise NotFound(f"There is no account for {email}.")
    return account


def name_problems(name: str) -> Iterable[FieldProblem]:
    """Yield an error if the name contains a control character or a line break."""
    if any(unicodedata.category(character) in _FORBIDDEN_IN_NAME for character in name):
        yield FieldProblem("name", "characters")


def _send_another_verification(services: Services, email: str) -> None:
    """Send a verification mail if the normalized address has an unverified account. Raise Unavailable."""
    with services.database.reading() as work:
        account = work.accounts.by_email(email)
    if account is not None and account.email_verified_at is None:
        send_verification(services, account)


def _registration_problems(
    services: Services, fields: Mapping[str, Any], email: str | None
) -> Iterable[FieldProblem]:
    """Yield the errors of the fields that are present; an address that has an account is an error.

    ``email`` is the normalized address, None if it is missing or invalid.
    """
    if "name" in fields:
        yield from name_problems(fields["name"])
    if "email" in fields:
        if email is None:
            yield FieldProblem("email", "email")
        else:
            with services.database.reading() as work:
                if work.accounts.by_email(email) is not None:
                    yield FieldProblem("email", "taken")
    if "password" in fields:
        yield from password_problems(fields["password"], fields.get("password_confirmation"))
