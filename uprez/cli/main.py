"""``uprez``: the commands, and errors as one sentence instead of a traceback."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from domain.errors import InvalidFields, UprezError
from handlers.sentences import field_errors
from uprez import __version__
from uprez.cli import database, demo, doctor, processes, serve, upscale, user

app = typer.Typer(
    name="uprez",
    help="Self-hosted image upscaling: a REST API with its contract first, workers, and the engine alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve.serve)
app.command()(upscale.upscale)
app.command()(doctor.doctor)
app.command()(demo.demo)
app.command()(processes.api)
app.command()(processes.worker)
app.add_typer(user.app, name="user")
app.add_typer(database.app, name="db")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"uprez {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


def run() -> None:
    """The console script. Exit 0 done, 1 refused with a sentence, 2 wrong usage, 130 interrupted."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.WARNING)
    try:
        app(prog_name="uprez")
    except InvalidFields as refused:
        sentences = [
            sentence for of_field in field_errors(refused.problems).values() for sentence in of_field
        ]
        sys.exit("uprez: " + "\n       ".join(sentences))
    except UprezError as refused:
        sys.exit("uprez: " + (str(refused) or refused.code).replace("\n", "\n       "))
    except OSError as refused:
        sys.exit(f"uprez: {refused}")
    except KeyboardInterrupt:
        sys.exit(130)
