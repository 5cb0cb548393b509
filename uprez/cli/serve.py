"""The command ``uprez serve``."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from uprez import serve as supervisor
from uprez.cli.options import DataFolder, Device, Model
from uprez.cli.processes import set_log_level
from uprez.settings import Settings, load_settings


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: UPREZ_HOST or 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 selects a free port. Default: UPREZ_PORT or 8000."),
    ] = None,
    data: DataFolder = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Run a whole service (API, worker and queue) until Ctrl-C."""
    settings = load_settings(host=host, port=port, data=data, model=model, device=device)
    set_log_level(settings)
    supervisor.serve(settings, _print_address)


def _print_address(settings: Settings, first_start: bool) -> None:
    """Print the API's address, the data folder, the mail folder if it is used, and how to stop the service.

    If ``first_start`` is true, also print the command that creates an account.
    """
    typer.echo(f"Uprez is ready at {settings.origin}/api")
    mail = f" (mail: {settings.data / 'mail'})" if settings.mail_url is None else ""
    typer.echo(f"Data: {settings.data}{mail}")
    if first_start:
        typer.echo(
            "\nThere is no account yet. Create one, with a token, in another shell:\n\n"
            "  uprez user create --email you@example.com --name You --plan professional --verified"
            f" --data {shlex.quote(str(settings.data))}\n"
        )
    typer.echo("Stop it with Ctrl-C.")
