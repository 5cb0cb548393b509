"""The commands ``uprez db …``, which manage the database schema."""

from __future__ import annotations

import typer

from uprez import wiring
from uprez.cli.options import DataFolder
from uprez.settings import load_settings, make_data_folder

app = typer.Typer(help="Manage the database schema.", no_args_is_help=True, add_completion=False)


@app.callback()
def group() -> None:
    pass


@app.command()
def upgrade(data: DataFolder = None) -> None:
    """Migrate the database to the schema of this release. Run it before a new release starts."""
    settings = load_settings(data=data)
    make_data_folder(settings)
    wiring.migrate(settings)
    typer.echo("The schema is up to date.")
