"""``uprez upscale``: the engine alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import InvalidFields, UprezError
from domain.formats import format_named
from domain.sizing import SCALE_FACTORS, Sizing
from uprez.cli.options import Device, Model
from uprez.cli.progress import progress_bar
from uprez.settings import load_settings


class FileError(UprezError):
    code = "file_unusable"


def upscale(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="The picture: JPEG, PNG, WebP, BMP, TIFF or GIF.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Where the result goes, in the same format.")],
    scale: Annotated[int | None, typer.Option(metavar="2|3|4", help="Factor; 2 if nothing is said.")] = None,
    width: Annotated[int | None, typer.Option(min=1, metavar="W", help="Exact width in pixels.")] = None,
    height: Annotated[int | None, typer.Option(min=1, metavar="H", help="Exact height in pixels.")] = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Upscale one picture without a server; the same result as from the server, byte for byte."""
    from workers.engine_child import EngineChild, EngineJob  # noqa: PLC0415  # not every command has the engine

    settings = load_settings(model=model, device=device)
    if scale is not None and scale not in SCALE_FACTORS:
        raise typer.BadParameter("2, 3 or 4", param_hint="--scale")
    try:
        sizing = Sizing.asked(scale, width, height)
    except InvalidFields:
        raise typer.BadParameter("not together with --width or --height", param_hint="--scale") from None
    if not source.is_file():
        raise FileError(f"There is no file {source}.")
    if not target.absolute().parent.is_dir():
        raise FileError(f"There is no folder {target.absolute().parent} for the result.")
    kept = format_named(source.name)
    if kept is not None and format_named(target.name) is not kept:
        raise FileError(
            f"The result keeps the format of {source.name}: name it {target.stem}{kept.extension}."
        )
    with (
        EngineChild(settings.engine_options(), stall_seconds=settings.stall_seconds) as engine,
        progress_bar() as bar,
    ):
        report = engine.upscale(
            EngineJob(source.absolute(), target.absolute(), sizing), on_progress=bar, keep_going=lambda: True
        )
    typer.echo(
        f"{target}: {report.original} → {report.result}, {report.model} on {report.device}, {report.seconds:.2f} s",
        file=sys.stderr,
    )
