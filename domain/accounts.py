"""Accounts: registering, proving an address, logging in and out, and what an account may do."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from email_validator import EmailNotValidError, validate_email

from domain import login_attempts, mail_requests, tokens
from domain.errors import (
    AbilityMissing,
    ApiAccessMissing,
    BatchesMissing,
    Denied,
    EmailNotVerified,
    EmailTaken,
    FieldProblem,
    InvalidFields,
    InvalidLink,
    NotFound,
    SubscriptionLapsed,
    WrongCredentials,
)
from domain.passwords import password_problems
from domain.plans import API_ACCESS, BATCHES, PlansError
from domain.ports import Mail
from domain.records import SubscriptionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from domain.database.unit_of_work import Database
    from domain.plans import Plans
    from domain.records import Account, Principal
    from domain.services import Services

_VERIFY_EMAIL = "verify-email"
_NOT_IN_A_LINE = {"Cc", "Zl", "Zp"}
"""Categories of control characters and line breaks; `Registration.name` in the contract has them one by one."""
_REFUSALS: Mapping[str, type[Denied]] = {
    "account:verified": EmailNotVerified,
    "subscription:current": SubscriptionLapsed,
    f"plan:{API_ACCESS}": ApiAccessMissing,
    f"plan:{BATCHES}": BatchesMissing,
}
"""What an operation can require besides abilities, and what somebody without it is told."""


def register(
    services: Services,
    fields: Mapping[str, Any],
    device_name: str,
    client: str,
    known: Sequence[FieldProblem] = (),
) -> tuple[Account, str]:
    """The new account and its first token; a verification mail is on its way, if mail can leave at all and this
    client has not asked for too many.

    ``fields`` are those that the contract's schema accepted, ``known`` the problems of the others.
    Raises InvalidFields with all of them and ours.
    """
    email = normalize_email(fields.get("email"))
    problems = [*known, *_registration_problems(services, fields, email)]
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
    # The account is there, whatever becomes of the mail: an error would make its owner try again, and hear that
    # the address is taken.
    if mail_requests.admitted(services, _VERIFY_EMAIL, email, client):
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
    """``subscribed`` gives it an active subscription, if its plan costs something.

    Raises InvalidFields when somebody else was quicker with the same address.
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
    """Raises WrongCredentials, EmailNotVerified to whoever knows the password, and TooManyFailedLogins.

    ``address`` is the client's.
    """
    known_as = normalize_email(email)
    guessed = known_as or email.strip().lower()  # or the spellings of one address would have a bound each
    login_attempts.require_patience(services, address, guessed)
    with services.database.reading() as work:
        account = None if known_as is None else work.accounts.by_email(known_as)
    if not services.passwords.matches(password, account.password_hash if account else None):
        login_attempts.note_failure(services, address, guessed)
        raise WrongCredentials
    assert account is not None
    login_attempts.require_patience(services, address, guessed)
    if account.email_verified_at is None:
        raise EmailNotVerified
    now = services.clock.now()
    with services.database.writing() as work:
        work.accounts.lock(account.id)
        current = work.accounts.get(account.id)
        # Or a login with the old password could outlive the reset that ended it a moment ago.
        if current is None or current.password_hash != account.password_hash:
            raise WrongCredentials
        token = tokens.issue(work, services.random_source, account, device_name, now)
        work.commit()
    return account, token


def log_out(services: Services, principal: Principal) -> None:
    """Ends the token, which gives out no other one from then on."""
    with services.database.writing() as work:
        work.accounts.lock(principal.account.id)
        work.tokens.delete(principal.token.id)
        work.commit()


def revoke_all(services: Services, account: Account) -> None:
    """Ends every token of the account, also one that another request is giving out right now."""
    with services.database.writing() as work:
        work.accounts.lock(account.id)
        work.tokens.delete_all(account.id)
        work.commit()


def request_verification(services: Services, email: str, client: str) -> None:
    """A new link is on its way if the address waits to be verified; nothing here tells, neither result nor time."""
    known_as = normalize_email(email)
    if known_as is not None and mail_requests.admitted(services, _VERIFY_EMAIL, known_as, client):
        services.background(partial(_send_another_verification, services, known_as))


def send_verification(services: Services, account: Account) -> None:
    """Raises Unavailable.

    Whoever registers may name anybody's address: nothing of what he wrote besides goes there in our name.
    """
    expires_at = services.clock.now() + services.policy.verification_link_lifetime
    signed = services.links.sign(_VERIFY_EMAIL, {"id": account.id, "email": account.email}, expires_at)
    link = f"{services.policy.origin}/api/auth/verify-email/{account.id}/{signed}"
    services.mailer.send(
        Mail(
            to=account.email,
            subject="Please verify your e-mail address",
            text=(
                "Hello,\n\n"
                f"open this link to verify your e-mail address for Uprez:\n\n{link}\n\n"
                f"It is good until {expires_at:%Y-%m-%d %H:%M} UTC. "
                "If you did not ask for an account, ignore this mail.\n"
            ),
        )
    )


def verify_email(services: Services, account_id: int, signed: str) -> None:
    """Raises LinkRefused; verifying twice is no error."""
    now = services.clock.now()
    claim = services.links.read(_VERIFY_EMAIL, signed, now)
    with services.database.writing() as work:
        account = work.accounts.get(account_id)
        if account is None or claim != {"id": account.id, "email": account.email}:
            raise InvalidLink
        work.accounts.verify_email(account.id, now)
        work.commit()


def granted_scopes(services: Services, principal: Principal) -> list[str]:
    """Everything the contract's security requirements can ask of this principal, where it is given."""
    account = principal.account
    plan, subscription = services.plans[account.plan], account.subscription
    given = list(principal.token.abilities)
    if account.email_verified_at is not None:
        given.append("account:verified")
    # A plan that costs nothing, or that the operator gave without a subscription, cannot lapse.
    if plan.is_free or subscription is None or subscription.is_active(services.clock.now()):
        given.append("subscription:current")
    given += [f"plan:{feature}" for feature in plan.features]
    return given


def named(services: Services, email: str) -> Account:
    """The account of this address. Raises NotFound."""
    known_as = normalize_email(email)
    with services.database.reading() as work:
        account = None if known_as is None else work.accounts.by_email(known_as)
    if account is None:
        raise NotFound(f"There is no account for {email}.")
    return account


def require_plans(database: Database, plans: Plans) -> None:
    """Raises PlansError when accounts are on a plan that there is not: each of their requests would crash."""
    with database.reading() as work:
        held = work.accounts.count_by_plan()
    missing = [f"{slug!r} (accounts: {count})" for slug, count in held.items() if slug not in plans]
    if missing:
        raise PlansError(
            f"The plans file lacks what accounts are on: {', '.join(missing)}. Put it back, or move each of them "
            "with: uprez user plan EMAIL PLAN"
        )


def denial_for(required: Iterable[str], given: Iterable[str]) -> Denied:
    """What to say to somebody who lacks something: the first missing requirement decides."""
    held = set(given)
    missing = next(requirement for requirement in required if requirement not in held)
    return _REFUSALS.get(missing, AbilityMissing)()


def normalize_email(email: str | None) -> str | None:
    """The one form in which an address is stored and compared; None if it is not an address."""
    if email is None:
        return None
    try:
        checked = validate_email(email, check_deliverability=False)
    except EmailNotValidError:
        return None
    return f"{checked.local_part}@{checked.ascii_domain}".lower()


def name_problems(name: str) -> Iterable[FieldProblem]:
    if any(unicodedata.category(character) in _NOT_IN_A_LINE for character in name):
        yield FieldProblem("name", "characters")


def _send_another_verification(services: Services, email: str) -> None:
    with services.database.reading() as work:
        account = work.accounts.by_email(email)
    if account is not None and account.email_verified_at is None:
        send_verification(services, account)


def _registration_problems(
    services: Services, fields: Mapping[str, Any], email: str | None
) -> Iterable[FieldProblem]:
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
