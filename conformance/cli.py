"""The command line of ``uprez-conformance``."""

from __future__ import annotations

import json
import signal
import sys
import textwrap
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from conformance import reports
from conformance.catalogue import requirements
from conformance.options import Options, UsageError, load_options
from conformance.reports.results import is_partial, problems
from conformance.runner import Exit, Run, run, select_requirements
from conformance.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from conformance.requirement import Requirement
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
_CLICK_USAGE_ERROR = 2  # the exit code of click for a usage error, which has code 3 here


class _Ended(SystemExit):
    """The exit of a command; its code is a value of ``Exit`` and not one of click."""


@app.callback()
def main_command(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda requested: _show_version(requested=requested),
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    pass


@app.command("run")
def run_command(
    base_url: Annotated[
        str | None, typer.Option(envvar="UPREZ_KIT_BASE_URL", help="URL at which the contract's paths begin.")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="UPREZ_KIT_TOKEN", help="Token of an account.")] = None,
    token_b: Annotated[
        str | None, typer.Option(envvar="UPREZ_KIT_TOKEN_B", help="Token of another account.")
    ] = None,
    email: Annotated[
        str | None, typer.Option(envvar="UPREZ_KIT_EMAIL", help="Email address of the first account.")
    ] = None,
    password: Annotated[
        str | None, typer.Option(envvar="UPREZ_KIT_PASSWORD", help="Password of the first account.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with these options.")] = None,
    profile: Annotated[
        list[str] | None, typer.Option(help="Profiles, separated by commas. Default: core.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Requirement or family to check. Can be repeated.")
    ] = None,
    read_only: Annotated[
        bool | None, typer.Option("--read-only", help="Check only what changes nothing on the server.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed that makes a run repeatable. Default: 0.")] = None,
    fuzz_seconds: Annotated[float | None, typer.Option(min=0, help="Seconds for generated requests.")] = None,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds to wait for a response.")] = None,
    work_timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds to wait for an image to be completed.")
    ] = None,
    max_wait: Annotated[
        float | None, typer.Option(min=0, help="Longest Retry-After to wait for, in seconds.")
    ] = None,
    ca_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificates of additional authorities for https.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write report.html, results.json, junit.xml, badge.json."),
    ] = None,
) -> None:
    """Check a server; exit 0 conformant, 1 not, 2 inconclusive, 3 wrong usage."""
    given: dict[str, Any] = {
        "base_url": base_url, "token": token, "token_b": token_b, "email": email, "password": password,
        "profiles": profile or None, "only": only or None, "read_only": read_only,
        "seed": seed, "fuzz_seconds": fuzz_seconds, "timeout": timeout, "work_timeout": work_timeout,
        "max_wait": max_wait, "ca_file": ca_file,
    }  # fmt: skip
    try:
        options = load_options(given, config)
        select_requirements(options)
        if report is not None:
            reports.prepare(report)
    except UsageError as reason:
        _exit_with_usage(str(reason))
    except OSError as reason:
        _exit_with_usage(f"--report: the folder is not writable: {reason}")
    try:
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, _interrupt)
        outcome = _run_with_progress(options)
        _print_summary(outcome)
        if report is not None:
            _write_report(outcome, report)
    except KeyboardInterrupt:
        raise _Ended(Exit.INCONCLUSIVE) from None
    except Exception as fault:  # noqa: BLE001  # the exit code of a traceback would mean "not conformant"
        # Print the place and not the message, which may contain secrets.
        where = traceback.extract_tb(fault.__traceback__)[-1]
        _print_error(f"Internal error of the kit, not of the server: {type(fault).__name__} in {where.name}.")
        raise _Ended(Exit.INCONCLUSIVE) from None
    raise _Ended(outcome.exit)


@app.command("list")
def list_command(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """List every requirement: id, level, profile, pointer, sentence, mutants."""
    if markdown:
        typer.echo(_table(requirements()))
        return
    for one in requirements():
        typer.echo(f"{one.id:<9} {one.level:<6}  {one.profile:<10}  {one.title}")
        typer.echo(f"          {one.pointer}")
        typer.echo(f"          “{_on_one_line(one.sentence)}”")
        if one.mutants:
            typer.echo(f"          mutants: {', '.join(one.mutants)}")


@app.command("explain")
def explain_command(requirement_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Explain a requirement: its text, its reason, how it is checked, and how a server fails it."""
    one = next((known for known in requirements() if known.id == requirement_id.upper()), None)
    if one is None:
        _exit_with_usage(
            f"Unknown requirement: {requirement_id}. `uprez-conformance list` shows all of them."
        )
    typer.echo(_explained(one))


@app.command("verify")
def verify_command(path: Annotated[Path, typer.Argument(metavar="RESULTS.JSON")]) -> None:
    """Check a results.json: form, digest, contract, counts, verdict; exit 0 valid, 1 not, 3 unreadable."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as reason:
        _exit_with_usage(f"{path} is not a readable report: {reason}")
    found = problems(document)
    for problem in found:
        _print_error(f"{path}: {problem}")
    if found:
        raise _Ended(1)
    verdict = f"{document['verdict']}{' in the selected requirements' if document['partial'] else ''}"
    typer.echo(
        f"{path} is valid: {document['server']['base_url']} was {verdict} on {document['run']['started']} "
        f"({_counted(document['counts'])})."
    )


def main() -> None:
    """Run the console script; a usage error of click exits with 3 in place of 2, like other wrong usage."""
    try:
        app(prog_name="uprez-conformance")
    except _Ended:
        raise
    except SystemExit as ended:
        # The exit code of a usage error must not look like a verdict.
        sys.exit(Exit.USAGE if ended.code == _CLICK_USAGE_ERROR else ended.code)


def _show_version(*, requested: bool) -> None:
    """Print the version and exit with code 0 if it is requested."""
    if requested:
        typer.echo(f"uprez-conformance {version('uprez')}")
        raise typer.Exit


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Print that the clean-up begins, and raise KeyboardInterrupt; the handler of SIGINT and SIGTERM."""
    _print_error(
        "Interrupted: deleting the images and batches of this run. A second interrupt leaves them on the server."
    )
    raise KeyboardInterrupt


def _exit_with_usage(message: str) -> NoReturn:
    """Print the message to stderr and exit with code 3."""
    _print_error(f"uprez-conformance: {message}")
    raise _Ended(Exit.USAGE)


def _table(rows: Sequence[Requirement]) -> str:
    """Return a Markdown table of the requirements; "|" in a cell is escaped."""
    lines = [
        "| id | level | profile | requirement | contract | mutants |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in rows:
        title = f"{one.title}: “{_on_one_line(one.sentence)}”"
        cells = (one.id, one.level, one.profile, title, f"`{one.pointer}`", ", ".join(one.mutants))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _explained(one: Requirement) -> str:
    """Return all texts of a requirement for the console, wrapped at 100 characters."""
    parts = [
        f"{one.id}  {one.title}",
        f"{one.level}, profile {one.profile}, since {one.since}"
        + (f", needs {', '.join(one.needs)}" if one.needs else "")
        + ("" if one.writes else ", only reads"),
        f"Contract   {one.pointer}",
        _paragraph("Requires", one.sentence),
        _paragraph("Why", one.why),
        _paragraph("Checked", one.how),
        _paragraph("Fails", one.fails),
    ]
    if one.covers:
        parts.append(_paragraph("Covers", ", ".join(one.covers)))
    if one.mutants:
        parts.append(_paragraph("Mutants", ", ".join(one.mutants)))
    return "\n".join(parts)


def _paragraph(head: str, text: str) -> str:
    """Return the text wrapped at 100 columns, with the head in a column on the left."""
    return textwrap.fill(_on_one_line(text), 100, initial_indent=f"{head:<11}", subsequent_indent=" " * 11)


def _on_one_line(text: str) -> str:
    """Return the text with one space between its words, without line breaks."""
    return " ".join(text.split())


def _run_with_progress(options: Options) -> Run:
    """Run the checks and return the outcome, with progress on stderr.

    A terminal shows a bar and all verdicts except pass; elsewhere there is a line for each requirement.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    total = len(select_requirements(options))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)

        def began(requirement: Requirement) -> None:
            """Show the id of the requirement that is checked now."""
            progress.update(task, description=requirement.id)

        def ended(result: Result) -> None:
            """Advance the progress bar.

            Print the result if it is no pass, or if the output is not a terminal.
            """
            progress.advance(task)
            if not console.is_terminal or result.verdict is not Verdict.PASS:
                console.print(_line(result), style=_STYLES.get(result.verdict, "magenta"), markup=False)

        return run(options, ended, began)


def _line(result: Result) -> str:
    """Return the line of a result: verdict, id, title and message."""
    message = f": {result.message}" if result.message else ""
    return (
        f"{result.verdict.value.upper():<12} {result.requirement.id:<9} {result.requirement.title}{message}"
    )


def _print_summary(outcome: Run) -> None:
    """Print the reason of an early end and items left behind to stderr, without secrets, and the verdict."""
    verdicts = [result.verdict for result in outcome.results]
    counts = _counted({verdict.value: verdicts.count(verdict) for verdict in Verdict})
    for message in (outcome.stopped, *outcome.left_behind):
        if message:
            _print_error(outcome.secrets.sanitize(message))
    verdict = outcome.exit.label.replace("not ", "NOT ")
    partial = " in the selected requirements" if counts and is_partial(outcome.options) else ""
    typer.echo(
        f"{verdict}{partial}: {counts or 'nothing was checked'}; {outcome.seconds:.0f} s, seed {outcome.options.seed}"
    )


def _counted(counts: dict[str, int]) -> str:
    """Return the counts as text, such as ``3 pass, 1 fail``; verdicts that do not occur are left out."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _write_report(outcome: Run, folder: Path) -> None:
    """Write the report and print its path; exit with code 3 if that fails, whatever the verdict."""
    try:
        paths = reports.write(outcome, folder)
    except OSError as reason:
        _exit_with_usage(f"--report: the report could not be written: {reason}")
    typer.echo(f"Report: {paths[0]}")


def _print_error(message: str) -> None:
    """Print the message to stderr."""
    print(message, file=sys.stderr)  # noqa: T201  # the console is the output of a console script
