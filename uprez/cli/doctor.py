"""``uprez doctor``: what there is, what would be used and why, and whether it works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from uprez import __version__, wiring
from uprez.cli.options import Device, Model
from uprez.settings import load_settings

if TYPE_CHECKING:
    from workers.engine.protocol import EngineReport


def doctor(model: Model = None, device: Device = None) -> None:
    """Check devices, models and the engine itself; exit 0 if pictures can be upscaled here."""
    from workers.supervisor import engine_report  # noqa: PLC0415  # not every command has the engine

    report = engine_report(wiring.engine_options(load_settings(model=model, device=device)))
    console = Console()
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    console.print(f"uprez {__version__}, {versions}", highlight=False)
    console.print(_devices(report))
    console.print(_models(report))
    console.print(f"Used: {report.choice}", highlight=False)
    for problem in report.problems:
        console.print(f"Problem: {problem}", style="bold red", highlight=False)
    if report.problems:
        raise typer.Exit(1)


def _devices(report: EngineReport) -> Table:
    table = Table("device", "name", "kind", "used", "self-test", title="Devices", title_justify="left")
    for device in report.devices:
        verdict = device.problem or f"passes ({_agreement(device.agreement_db)}, {device.model})"
        table.add_row(device.id, device.name, device.kind, "yes" if device.used else "no", verdict)
    return table


def _models(report: EngineReport) -> Table:
    table = Table("model", "file", "SHA-256", "", title="Models", title_justify="left")
    for model in report.models:
        for file in model.files:
            table.add_row(model.name, file.name, f"{file.sha256[:16]}…", file.problem or "right")
    return table


def _agreement(decibels: float | None) -> str:
    if decibels is None:
        return "no answer"
    return (
        "equal to the golden picture"
        if decibels == float("inf")
        else f"{decibels:.1f} dB from the golden picture"
    )
