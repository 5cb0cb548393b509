"""``uprez``: the commands, and errors as one sentence instead of a traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from domain.errors import InvalidFields, UprezError
from handlers.transport.field_messages import field_errors
from uprez import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

# In the order of the help: where in this package each is, a function or a group of its own.
_COMMANDS = {
    "serve": "serve:serve",
    "upscale": "upscale:upscale",
    "doctor": "doctor:doctor",
    "demo": "demo:demo",
    "api": "processes:api",
    "worker": "processes:worker",
    "user": "user:app",
    "db": "database:app",
}
# Anything else that cannot be imported is an extra that was left out.
_OWN_PACKAGES = frozenset({"domain", "handlers", "uprez", "workers", ""})


class _OnDemand(Mapping[str, Any]):
    """Typer's commands by name, each loaded when it is asked for: the database's libraries alone take half a second."""

    def __len__(self) -> int:
        return len(_COMMANDS)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = _COMMANDS[name].partition(":")
        found = getattr(import_module(f"uprez.cli.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            of_one = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            of_one.command(name)(found)
            found = of_one
        command = get_command(found)
        command.name = name
        return command


class _Commands(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _OnDemand()  # type: ignore[assignment]  # is only read


app = typer.Typer(
    cls=_Commands,
    name="uprez",
    help="Self-hosted image upscaling: a REST API with its contract first, workers, and the engine alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in _OWN_PACKAGES:
            raise
        sys.exit(
            f"uprez: {package} is not installed. Whatever the service needs comes with: pip install 'uprez[serve]'"
        )
    except KeyboardInterrupt:
        sys.exit(130)
