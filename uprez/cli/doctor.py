"""The command ``uprez doctor``, which checks devices and models and explains the selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console

from domain import model_choices
from uprez import __version__
from uprez.cli.options import Device, Model
from uprez.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uprez.settings import Settings
    from workers.engine.report_types import EngineReport


def doctor(model: Model = None, device: Device = None) -> None:
    """Check devices, models and the engine.

    Exit with 0 if images can be upscaled on this machine, otherwise 1.
    """
    from workers.engine_child import engine_report  # noqa: PLC0415  # the engine is slow to load

    settings = load_settings(model=model, device=device)
    report = engine_report(settings.engine_options())
    # One fact per line, without wrapping, so that grep finds it.
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    console.print(f"uprez {__version__}")
    for name, version in report.versions.items():
        console.print(f"{name} {version}")
    for line in (*_devices(report), *_files(report)):
        console.print(line)
    console.print(f"Used: {report.choice}")
    problems = [*report.problems, *_choice_problems(settings, report)]
    for problem in problems:
        console.print(f"Problem: {problem}", style="bold red")
    if problems:
        raise typer.Exit(1)


def _devices(report: EngineReport) -> Iterator[str]:
    """Yield one line for each device, used or not, with its problem or else the result of its self-test."""
    for device in report.devices:
        used = "used" if device.used else "not used"
        verdict = (
            device.problem or f"passes its self-test with {device.model} ({_agreement(device.agreement_db)})"
        )
        yield f"Device {device.id}: {device.name}, {device.kind}, {used}; {verdict}"


def _files(report: EngineReport) -> Iterator[str]:
    """Yield one line for each file of each model, with its SHA-256 and its problem or ``ok``."""
    for model in report.models:
        for file in model.files:
            yield f"Model {model.name}: {file.name}, SHA-256 {file.sha256} {file.problem or 'ok'}"


def _choice_problems(settings: Settings, report: EngineReport) -> Iterator[str]:
    """Yield one line for each configured choice whose model is missing or unusable."""
    problems = {model.name: model.problem for model in report.models}
    for word, name in model_choices.parse(settings.model_choices).items():
        reason = problems.get(name, f"There is no model {name!r}.")
        if reason is not None:
            yield f"UPREZ_MODEL_CHOICES offers {word}: {reason}"


def _agreement(decibels: float | None) -> str:
    """Return the agreement as text in whole decibels; ``no result`` for None."""
    return "no result" if decibels is None else f"{decibels:.0f} dB against the reference image"
