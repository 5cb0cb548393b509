"""The commands ``uprez user …``, with which an operator manages accounts."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from domain import accounts, quota, subscriptions
from domain.database import schema
from domain.email_addresses import normalize_email
from domain.errors import FieldProblem, InvalidFields
from domain.passwords import password_problems
from domain.plans import UNLIMITED
from domain.records import Account, Subscription, SubscriptionStatus
from domain.services import Services
from handlers import shapes
from uprez import wiring
from uprez.adapters.system import SystemRandomSource
from uprez.cli.options import DataFolder
from uprez.settings import Settings, load_settings

app = typer.Typer(help="Manage accounts.", no_args_is_help=True, add_completion=False)
_TOKEN_NAME = "uprez user create"  # noqa: S105  # a name in the list of tokens, not a secret


def _parse_time(text: str) -> datetime:
    """Parse an ISO 8601 date or time and return it in UTC, which is also the default zone.

    A date is its first moment. Raise BadParameter for other text, or for a time out of range.
    """
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is not a valid time. Use a form such as 2026-12-31 or 2026-12-31T18:00:00Z."
        ) from None


def _parse_images_per_month(text: str) -> int | None:
    """Parse a monthly quota: up to nine digits, ``unlimited`` or ``plan``.

    Return the number of images, UNLIMITED, or None for ``plan``: the quota of the account's plan. Raise BadParameter
    for other text.
    """
    words = {"unlimited": UNLIMITED, "plan": None}
    if text in words:
        return words[text]
    if not re.fullmatch("[0-9]{1,9}", text):
        raise typer.BadParameter(f"{text!r} is not a valid quota. Use a whole number, unlimited or plan.")
    return int(text)


Email = Annotated[
    str, typer.Argument(metavar="EMAIL", help="Email address of the account.", show_default=False)
]


@app.callback()
def group() -> None:
    pass


@app.command()
def create(
    email: Annotated[str, typer.Option(help="Email address for the login.")],
    name: Annotated[str, typer.Option(help="Full name.")],
    plan: Annotated[
        str | None, typer.Option(help="Slug of the plan. Default: UPREZ_DEFAULT_PLAN or free.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(envvar="UPREZ_PASSWORD", help="Password. Default: a random password, which is printed."),
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Treat the address as verified and send no verification mail.")
    ] = False,
    data: DataFolder = None,
) -> None:
    """Create an account and a token for it. Print one JSON object.

    On a plan with a price, the account gets an active subscription, as with `uprez user plan`.
    """
    settings = load_settings(data=data, default_plan=plan)
    services = _services(settings)
    generated = None if password else _generate_password()
    chosen = password or generated or ""
    normalized = normalize_email(email)
    problems = [*accounts.name_problems(name), *password_problems(chosen, None)]
    if normalized is None:
        problems.append(FieldProblem("email", "email"))
    if problems or normalized is None:
        raise InvalidFields(problems)
    account, token = accounts.create(
        services,
        name=name,
        email=normalized,
        password_hash=services.passwords.hash(chosen),
        plan=settings.default_plan,
        device_name=_TOKEN_NAME,
        verified=verified,
        subscribed=True,
    )
    shown = {"id": account.id, "email": account.email, "plan": account.plan, "token": token}
    # Printed before the mail is sent: if that fails, the token cannot be shown again.
    typer.echo(json.dumps(shown | ({"password": generated} if generated else {})))
    if not verified:
        accounts.send_verification(services, account)


@app.command("plan")
def change_plan(
    email: Email,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Slug of the plan.", show_default=False)],
    data: DataFolder = None,
) -> None:
    """Change the plan of an account. Print one JSON object.

    On a plan with a price, the account gets an active subscription without an end; this revokes a cancellation and
    ends a trial. On a plan without a price, a running subscription is cancelled and ends now. The output contains the
    subscription before the change as `previous_subscription`.
    """
    services = _services(load_settings(data=data))
    previous = subscriptions.change_plan(services, accounts.get_by_email(services, email), plan)
    _print_account(services, email, previous_subscription=_subscription(services, previous))


@app.command("subscription")
def set_subscription(
    email: Email,
    status: Annotated[
        SubscriptionStatus, typer.Option(help="New status of the subscription.", show_default=False)
    ],
    ends_at: Annotated[
        datetime | None,
        typer.Option(
            parser=_parse_time,
            metavar="ISO-8601",
            help="End of the subscription. Required for a trial. Default for cancelled and lapsed: now. Without a "
            "time zone it is UTC.",
        ),
    ] = None,
    data: DataFolder = None,
) -> None:
    """Set the status of an account's subscription. Print one JSON object.

    A cancelled subscription is valid until its end. A trial and an active subscription lapse at their end.
    """
    services = _services(load_settings(data=data))
    if status is SubscriptionStatus.TRIAL and ends_at is None:
        raise typer.BadParameter("A trial must have an end. Set it with --ends-at.")
    if status is SubscriptionStatus.LAPSED and ends_at is not None and ends_at > services.clock.now():
        raise typer.BadParameter("A lapsed subscription has ended, so --ends-at cannot be in the future.")
    subscriptions.set_status(services, _account_with_known_plan(services, email), status, ends_at)
    _print_account(services, email)


@app.command("quota")
def set_quota(
    email: Email,
    images: Annotated[
        str,
        typer.Argument(
            metavar="N|unlimited|plan",
            help="Images per month. plan: the quota of the account's plan.",
            show_default=False,
        ),
    ],
    data: DataFolder = None,
) -> None:
    """Set the monthly quota of an account. Print one JSON object."""
    services = _services(load_settings(data=data))
    quota.set_limit(services, _account_with_known_plan(services, email), _parse_images_per_month(images))
    _print_account(services, email)


def _services(settings: Settings) -> Services:
    """Build the services on an up-to-date database; migrate only the embedded one.

    Raise SchemaError when the database is not up to date, and the errors of ``make_services``.
    """
    wiring.prepare_embedded(settings)
    services = wiring.make_services(settings)
    schema.require_current(services.database)
    return services


def _account_with_known_plan(services: Services, email: str) -> Account:
    """Return the account with this address; call it before a change is written.

    Raise NotFound when there is none, and PlansError when the plans file lacks its plan.
    """
    account = accounts.get_by_email(services, email)
    services.plans[account.plan]
    return account


def _subscription(services: Services, subscription: Subscription | None) -> dict[str, Any] | None:
    """Return the subscription in the form that the API returns."""
    return None if subscription is None else shapes.subscription(subscription, services.clock.now())


def _print_account(services: Services, email: str, **more: object) -> None:
    """Read the account again and print it, with the fields ``more``, as one JSON object.

    Raise NotFound when there is no account, and PlansError when the plans file lacks its plan.
    """
    account = accounts.get_by_email(services, email)
    shown = {
        "id": account.id,
        "email": account.email,
        "plan": account.plan,
        "images_per_month": quota.limit_of(account, services.plans[account.plan]),
        "subscription": _subscription(services, account.subscription),
        **more,
    }
    typer.echo(json.dumps(shown))


def _generate_password() -> str:
    """Return a random password that has every kind of character that the password rules require."""
    return f"{SystemRandomSource().token(20)}aA1"
