"""``uprez user``: accounts, from the operator's side."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from domain import accounts, schema
from domain.errors import FieldProblem, InvalidFields
from domain.passwords import password_problems
from domain.system import SystemChance
from uprez import wiring
from uprez.cli.options import DataFolder
from uprez.settings import load_settings

app = typer.Typer(help="Accounts.", no_args_is_help=True)
_TOKEN_NAME = "uprez user create"  # noqa: S105  # the name it is listed under


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
    """Make an account and a token for it; prints one JSON object."""
    settings = load_settings(data=data, default_plan=plan)
    wiring.prepare_embedded(settings)
    services = wiring.make_services(settings)
    schema.require_current(services.database)
    made = None if password else _make_password()
    chosen = password or made or ""
    known_as = accounts.normal_email(email)
    problems = [*password_problems(chosen, None)]
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
    )
    shown = {"id": account.id, "email": account.email, "plan": account.plan, "token": token}
    # First what cannot be had a second time.
    typer.echo(json.dumps(shown | ({"password": made} if made else {})))
    if not verified:
        accounts.send_verification(services, account)


def _make_password() -> str:
    """Long enough not to be guessed, and with every kind of letter that our own rules ask for."""
    return f"{SystemChance().letters(20)}aA1"
