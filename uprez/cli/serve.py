"""``uprez serve``"""

from __future__ import annotations

from typing import Annotated

import typer

from uprez import serve as supervisor
from uprez.cli.options import DataFolder, Device, Model
from uprez.cli.processes import log_to_stderr
from uprez.settings import Settings, load_settings


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on [env: UPREZ_HOST, else 127.0.0.1].")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, 0 for a free one [env: UPREZ_PORT, else 8000].")
    ] = None,
    data: DataFolder = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Run everything here: API, worker and queue, until Ctrl-C."""
    settings = load_settings(host=host, port=port, data=data, model=model, device=device)
    log_to_stderr(settings)
    supervisor.serve(settings, _say_where)


def _say_where(settings: Settings, first_start: bool) -> None:
    typer.echo(f"Uprez is ready at {settings.origin}/api")
    mail = f" (mail: {settings.data / 'mail'})" if settings.mail_url is None else ""
    typer.echo(f"Data: {settings.data}{mail}")
    if first_start:
        typer.echo(
            "\nNobody has an account yet. Make one, and a token for it, in another shell:\n\n"
            "  uprez user create --email you@example.com --name You --plan professional --verified"
            f" --data {settings.data}\n"
        )
    typer.echo("Stop it with Ctrl-C.")
