"""``uprez user``: accounts, from the operator's side."""

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

app = typer.Typer(help="Accounts.", no_args_is_help=True, add_completion=False)
_TOKEN_NAME = "uprez user create"  # noqa: S105  # the name it is listed under


def _instant(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time such as 2026-12-31 or 2026-12-31T18:00:00Z.") from None


def _images_per_month(text: str) -> int | None:
    words = {"unlimited": UNLIMITED, "plan": None}
    if text in words:
        return words[text]
    if not re.fullmatch("[0-9]{1,9}", text):
        raise typer.BadParameter(f"{text!r} is no whole number of images, unlimited or plan.")
    return int(text)


Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Address of the account.", show_default=False)]


@app.callback()
def group() -> None:
    pass


@app.command()
def create(
    email: Annotated[str, typer.Option(help="Address to log in with.")],
    name: Annotated[str, typer.Option(help="Full name.")],
    plan: Annotated[
        str | None, typer.Option(help="Slug of the plan [env: UPREZ_DEFAULT_PLAN, else free].")
    ] = None,
    password: Annotated[
        str | None, typer.Option(envvar="UPREZ_PASSWORD", help="Password; without one it is made and shown.")
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="The address is known to be right: no verification mail.")
    ] = False,
    data: DataFolder = None,
) -> None:
    """Make an account and a token for it; prints one JSON object.

    On a plan that costs something it has an active subscription, as if by `uprez user plan`.
    """
    settings = load_settings(data=data, default_plan=plan)
    services = _services(settings)
    made = None if password else _make_password()
    chosen = password or made or ""
    known_as = normalize_email(email)
    problems = [*accounts.name_problems(name), *password_problems(chosen, None)]
    if known_as is None:
        problems.append(FieldProblem("email", "email"))
    if problems or known_as is None:
        raise InvalidFields(problems)
    account, token = accounts.create(
        services,
        name=name,
        email=known_as,
        password_hash=services.passwords.hash(chosen),
        plan=settings.default_plan,
        device_name=_TOKEN_NAME,
        verified=verified,
        subscribed=True,
    )
    shown = {"id": account.id, "email": account.email, "plan": account.plan, "token": token}
    # First what cannot be had a second time.
    typer.echo(json.dumps(shown | ({"password": made} if made else {})))
    if not verified:
        accounts.send_verification(services, account)


@app.command("plan")
def change_plan(
    email: Email,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Slug of the plan.", show_default=False)],
    data: DataFolder = None,
) -> None:
    """Put an account on a plan; prints one JSON object.

    A plan that costs something comes with an active subscription without an end: it takes a cancellation back and
    ends a trial. With one that costs nothing, a subscription that still runs is cancelled and over. What there was
    before is printed as `previous_subscription`.
    """
    services = _services(load_settings(data=data))
    previous = subscriptions.change_plan(services, accounts.named(services, email), plan)
    _show(services, email, previous_subscription=_subscription(services, previous))


@app.command("subscription")
def set_subscription(
    email: Email,
    status: Annotated[SubscriptionStatus, typer.Option(help="What holds from now on.", show_default=False)],
    ends_at: Annotated[
        datetime | None,
        typer.Option(
            parser=_instant,
            metavar="ISO-8601",
            help="When it ends or ended: needed for a trial, and now for one that is cancelled or lapsed, unless "
            "given. UTC, unless it names another zone.",
        ),
    ] = None,
    data: DataFolder = None,
) -> None:
    """Say where an account's subscription stands; prints one JSON object.

    One that is cancelled counts until its end. A trial and an active one lapse at theirs.
    """
    services = _services(load_settings(data=data))
    if status is SubscriptionStatus.TRIAL and ends_at is None:
        raise typer.BadParameter("A trial has an end: say when with --ends-at.")
    if status is SubscriptionStatus.LAPSED and ends_at is not None and ends_at > services.clock.now():
        raise typer.BadParameter("What has lapsed has ended: --ends-at cannot be in the future.")
    subscriptions.set_status(services, _on_a_plan(services, email), status, ends_at)
    _show(services, email)


@app.command("quota")
def set_quota(
    email: Email,
    images: Annotated[
        str,
        typer.Argument(
            metavar="N|unlimited|plan",
            help="Images a month for this account alone, or those of its plan again.",
            show_default=False,
        ),
    ],
    data: DataFolder = None,
) -> None:
    """Give an account a monthly quota of its own; prints one JSON object."""
    services = _services(load_settings(data=data))
    quota.set_limit(services, _on_a_plan(services, email), _images_per_month(images))
    _show(services, email)


def _services(settings: Settings) -> Services:
    wiring.prepare_embedded(settings)
    services = wiring.make_services(settings)
    schema.require_current(services.database)
    return services


def _on_a_plan(services: Services, email: str) -> Account:
    """Raises NotFound, and PlansError before anything is written for an account whose plan the file lacks."""
    account = accounts.named(services, email)
    services.plans[account.plan]
    return account


def _subscription(services: Services, subscription: Subscription | None) -> dict[str, Any] | None:
    return None if subscription is None else shapes.subscription(subscription, services.clock.now())


def _show(services: Services, email: str, **more: object) -> None:
    """What holds from the next request on."""
    account = accounts.named(services, email)
    shown = {
        "id": account.id,
        "email": account.email,
        "plan": account.plan,
        "images_per_month": quota.limit_of(account, services.plans[account.plan]),
        "subscription": _subscription(services, account.subscription),
        **more,
    }
    typer.echo(json.dumps(shown))


def _make_password() -> str:
    """Long enough not to be guessed, and with every kind of letter that our own rules ask for."""
    return f"{SystemRandomSource().token(20)}aA1"
