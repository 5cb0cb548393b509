"""The command ``uprez``: its subcommands and its error messages."""

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

# In the order of the help text: module and attribute below this package, a function or a typer.Typer.
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
# A missing module of another package means that an optional extra is not installed.
_OWN_PACKAGES = frozenset({"domain", "handlers", "uprez", "workers", ""})


class _LazyCommands(Mapping[str, Any]):
    """The commands by name, each imported on first access: the database libraries alone need half a second."""

    def __len__(self) -> int:
        return len(_COMMANDS)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __getitem__(self, name: str) -> Any:
        """Import and return the command of this name; only the command that is called is imported.

        Raise KeyError.
        """
        module, _, attribute = _COMMANDS[name].partition(":")
        found = getattr(import_module(f"uprez.cli.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            group = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            group.command(name)(found)
            found = group
        command = get_command(found)
        command.name = name
        return command


class _Commands(TyperGroup):
    """A command group that imports a command only when it is used."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _LazyCommands()  # type: ignore[assignment]  # TyperGroup only reads it


app = typer.Typer(
    cls=_Commands,
    name="uprez",
    help="Self-hosted image upscaling: REST API, workers, and an engine that also works without a server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    """Print the version and exit with status 0, if it was requested."""
    if requested:
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
    """Run the console script and print errors without a traceback.

    Exit with 0 on success, 1 on an error, 2 on wrong usage and 130 on Ctrl-C. Errors of other types, and a
    missing module of Uprez itself, keep their traceback.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.WARNING)
    try:
        app(prog_name="uprez")
    except InvalidFields as error:
        lines = [message for messages in field_errors(error.problems).values() for message in messages]
        sys.exit("uprez: " + "\n       ".join(lines))
    except UprezError as error:
        sys.exit("uprez: " + (str(error) or error.code).replace("\n", "\n       "))
    except OSError as error:
        sys.exit(f"uprez: {error}")
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in _OWN_PACKAGES:
            raise
        sys.exit(
            f"uprez: The package {package} is not installed. Install what the service needs: pip install 'uprez[serve]'"
        )
    except KeyboardInterrupt:
        sys.exit(130)
