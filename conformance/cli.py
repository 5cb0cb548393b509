"""``uprez-conformance``"""

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
_CLICKS_USAGE = 2  # the exit code of the command line's library for what is ours of 3


class _Ended(SystemExit):
    """Of ours: the code means what ``Exit`` says."""


@app.callback()
def main_command(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _show_version(wanted=wanted),
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    pass


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
        list[str] | None, typer.Option(help="Profiles, with commas between; core if nothing is said.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="One requirement, or a family; may be said several times.")
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
    ca_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificates of authorities to trust, for https.")
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
        told = load_options(given, config)
        select_requirements(told)
        if report is not None:
            reports.prepare(report)
    except UsageError as reason:
        _refuse(str(reason))
    except OSError as reason:
        _refuse(f"--report: nothing can be written there: {reason}")
    try:
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, _interrupt)
        found = _watched(told)
        _conclude(found)
        if report is not None:
            _report(found, report)
    except KeyboardInterrupt:
        raise _Ended(Exit.INCONCLUSIVE) from None
    except Exception as fault:  # noqa: BLE001  # a traceback's exit code would say that the server is not conformant
        # Where it happened and not what it says: there may be anything in it.
        where = traceback.extract_tb(fault.__traceback__)[-1]
        _say(f"A fault of the kit's own, and not the server's: {type(fault).__name__} in {where.name}.")
        raise _Ended(Exit.INCONCLUSIVE) from None
    raise _Ended(found.exit)


@app.command("list")
def list_command(
    markdown: Annotated[bool, typer.Option("--markdown", help="As a table for a page.")] = False,
) -> None:
    """Every requirement: id, level, profile, pointer, sentence, mutants."""
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
    """What a requirement asks, why, how it is checked, and how a server fails it."""
    one = next((known for known in requirements() if known.id == requirement_id.upper()), None)
    if one is None:
        _refuse(f"There is no requirement {requirement_id}; `uprez-conformance list` has them all.")
    typer.echo(_explained(one))


@app.command("verify")
def verify_command(path: Annotated[Path, typer.Argument(metavar="RESULTS.JSON")]) -> None:
    """Check a results.json: form, digest, contract, counts, verdict; exit 0 sound, 1 not, 3 unreadable."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as reason:
        _refuse(f"{path} cannot be read as a report: {reason}")
    found = problems(document)
    for problem in found:
        _say(f"{path}: {problem}")
    if found:
        raise _Ended(1)
    verdict = f"{document['verdict']}{' in what was chosen' if document['partial'] else ''}"
    typer.echo(
        f"{path} is sound: {document['server']['base_url']} was {verdict} on {document['run']['began']} "
        f"({_counted(document['counts'])})."
    )


def main() -> None:
    """The console script."""
    try:
        app(prog_name="uprez-conformance")
    except _Ended:
        raise
    except SystemExit as ended:
        # What cannot be understood must not look like a verdict.
        sys.exit(Exit.USAGE if ended.code == _CLICKS_USAGE else ended.code)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"uprez-conformance {version('uprez')}")
        raise typer.Exit


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    _say("Interrupted: deleting what was made on the server. Once more leaves it there.")
    raise KeyboardInterrupt


def _refuse(sentence: str) -> NoReturn:
    _say(f"uprez-conformance: {sentence}")
    raise _Ended(Exit.USAGE)


def _table(all_of_them: Sequence[Requirement]) -> str:
    head = (
        "| id | level | profile | requirement | contract | mutants |\n| --- | --- | --- | --- | --- | --- |"
    )
    rows = [
        (
            one.id,
            one.level,
            one.profile,
            f"{one.title}: “{_on_one_line(one.sentence)}”",
            f"`{one.pointer}`",
            ", ".join(one.mutants),
        )
        for one in all_of_them
    ]
    return "\n".join(
        [head, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)]
    )


def _explained(one: Requirement) -> str:
    parts = [
        f"{one.id}  {one.title}",
        f"{one.level}, profile {one.profile}, since {one.since}"
        + (f", needs {', '.join(one.needs)}" if one.needs else "")
        + ("" if one.writes else ", only reads"),
        f"Contract   {one.pointer}",
        _paragraph("Asks", one.sentence),
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
    return textwrap.fill(_on_one_line(text), 100, initial_indent=f"{head:<11}", subsequent_indent=" " * 11)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _watched(chosen_options: Options) -> Run:
    """A bar on a terminal, a line for each requirement elsewhere."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    total = len(select_requirements(chosen_options))
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
    said = f": {result.message}" if result.message else ""
    return f"{result.verdict.value.upper():<12} {result.requirement.id:<9} {result.requirement.title}{said}"


def _conclude(found: Run) -> None:
    verdicts = [result.verdict for result in found.results]
    counts = _counted({verdict.value: verdicts.count(verdict) for verdict in Verdict})
    for sentence in (found.stopped, *found.left_behind):
        if sentence:
            _say(found.secrets.sanitize(sentence))
    words = found.exit.words.replace("not ", "NOT ") + (
        " in what was chosen" if counts and is_partial(found.options) else ""
    )
    typer.echo(
        f"{words}: {counts or 'nothing was checked'}; {found.seconds:.0f} s, seed {found.options.seed}"
    )


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _report(found: Run, folder: Path) -> None:
    """A report that was asked for and is not there is no small matter, whatever the verdict."""
    try:
        paths = reports.write(found, folder)
    except OSError as reason:
        _refuse(f"--report: nothing could be written: {reason}")
    typer.echo(f"Report: {paths[0]}")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201  # a console script speaks to its console
