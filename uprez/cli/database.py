"""``uprez db``: the schema."""

from __future__ import annotations

import typer

from uprez import wiring
from uprez.cli.options import DataFolder
from uprez.settings import load_settings, make_data_folder

app = typer.Typer(help="The database's schema.", no_args_is_help=True, add_completion=False)


@app.callback()
def group() -> None:
    pass


@app.command()
def upgrade(data: DataFolder = None) -> None:
    """Bring the database to this release's schema; run it before a new release serves."""
    settings = load_settings(data=data)
    make_data_folder(settings)
    wiring.migrate(settings)
    typer.echo("The schema is up to date.")
