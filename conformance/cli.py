"""``uprez-conformance``"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from conformance.catalogue import requirements
from conformance.options import Options, UsageError, options
from conformance.runner import Exit, Run, chosen, run
from conformance.verdicts import Verdict

if TYPE_CHECKING:
    from conformance.catalogue import Requirement
    from conformance.verdicts import Result

app = typer.Typer(
    name="uprez-conformance",
    help="Check any server against the Uprez contract, requirement by requirement.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.SKIP: "yellow"}


@app.command("run")
def run_command(
    base_url: Annotated[
        str | None, typer.Option(envvar="UPREZ_KIT_BASE_URL", help="Where the contract's paths begin.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="UPREZ_KIT_TOKEN", help="A token of an account.")
    ] = None,
    token_b: Annotated[
        str | None, typer.Option(envvar="UPREZ_KIT_TOKEN_B", help="A token of another account.")
    ] = None,
    email: Annotated[
        str | None, typer.Option(envvar="UPREZ_KIT_EMAIL", help="The first account's address.")
    ] = None,
    password: Annotated[
        str | None, typer.Option(envvar="UPREZ_KIT_PASSWORD", help="The first account's password.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of these options.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="Profiles, with commas between; core if nothing is said.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="One requirement; may be said several times.")
    ] = None,
    read_only: Annotated[
        bool | None, typer.Option("--read-only", help="Only what changes nothing on the server.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats a run; 0 if nothing is said.")] = None,
    fuzz_seconds: Annotated[
        float | None, typer.Option(min=0, help="How long to send generated requests.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds to wait for an answer.")] = None,
    work_timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds to wait for a picture to be finished.")
    ] = None,
    max_wait: Annotated[
        float | None, typer.Option(min=0, help="Longest Retry-After to wait for, in seconds.")
    ] = None,
) -> None:
    """Check a server; exit 0 conformant, 1 not, 2 inconclusive, 3 wrong usage."""
    given: dict[str, Any] = {
        "base_url": base_url, "token": token, "token_b": token_b, "email": email, "password": password,
        "profiles": profile.split(",") if profile else None, "only": only or None, "read_only": read_only,
        "seed": seed, "fuzz_seconds": fuzz_seconds, "timeout": timeout, "work_timeout": work_timeout,
        "max_wait": max_wait,
    }  # fmt: skip
    try:
        found = _watched(options(given, config))
    except UsageError as reason:
        _say(f"uprez-conformance: {reason}")
        raise typer.Exit(Exit.USAGE) from None
    _conclude(found)
    raise typer.Exit(found.exit)


@app.command("list")
def list_command(
    markdown: Annotated[bool, typer.Option("--markdown", help="As a table for a page.")] = False,
) -> None:
    """Every requirement: id, level, profile, pointer, sentence, mutants."""
    if markdown:
        typer.echo(
            "| id | level | profile | requirement | contract | mutants |\n| --- | --- | --- | --- | --- | --- |"
        )
    for one in requirements():
        cells = (one.id, one.level, one.profile, one.title, f"`{one.pointer}`", ", ".join(one.mutants))
        if markdown:
            typer.echo("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        else:
            typer.echo(
                f"{one.id}  {one.level:<6}  {one.profile:<10}  {one.title}\n    {one.pointer}\n    “{one.sentence}”"
            )


@app.command("explain")
def explain_command(requirement_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """What a requirement asks, why, how it is checked, and how a server fails it."""
    one = next((known for known in requirements() if known.id == requirement_id.upper()), None)
    if one is None:
        _say(
            f"uprez-conformance: There is no requirement {requirement_id}; `uprez-conformance list` has them all."
        )
        raise typer.Exit(Exit.USAGE)
    typer.echo(_explained(one))


def main() -> None:
    """The console script."""
    app(prog_name="uprez-conformance")


def _explained(one: Requirement) -> str:
    parts = (
        f"{one.id}  {one.title}",
        f"{one.level}, profile {one.profile}, since {one.since}"
        + (f", needs {', '.join(one.needs)}" if one.needs else ""),
        f"Contract   {one.pointer}",
        _paragraph("Asks", one.sentence),
        _paragraph("Why", one.why),
        _paragraph("Checked", one.how),
        _paragraph("Fails", one.fails),
    )
    return "\n".join(parts)


def _paragraph(head: str, text: str) -> str:
    return textwrap.fill(
        " ".join(text.split()), 100, initial_indent=f"{head:<11}", subsequent_indent=" " * 11
    )


def _watched(chosen_options: Options) -> Run:
    """A bar on a terminal, a line for each requirement elsewhere."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    total = len(chosen(chosen_options))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)

        def began(requirement: Requirement) -> None:
            progress.update(task, description=requirement.id)

        def ended(result: Result) -> None:
            progress.advance(task)
            if not console.is_terminal or result.verdict is not Verdict.PASS:
                console.print(_line(result), style=_STYLES.get(result.verdict, "magenta"), markup=False)

        return run(chosen_options, ended, began)


def _line(result: Result) -> str:
    said = f": {result.sentence}" if result.sentence else ""
    return f"{result.verdict.value.upper():<12} {result.requirement.id:<9} {result.requirement.title}{said}"


def _conclude(found: Run) -> None:
    verdicts = [result.verdict for result in found.results]
    counts = ", ".join(
        f"{verdicts.count(verdict)} {verdict.value}" for verdict in Verdict if verdict in verdicts
    )
    words = {
        Exit.CONFORMANT: "conformant",
        Exit.NOT_CONFORMANT: "NOT conformant",
        Exit.INCONCLUSIVE: "inconclusive",
    }
    for sentence in (found.stopped, *found.left_behind):
        if sentence:
            _say(found.secrets.hide(sentence))
    typer.echo(
        f"{words[found.exit]}: {counts or 'nothing was checked'}; {found.seconds:.0f} s, seed {found.options.seed}"
    )


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201  # a console script speaks to its console
