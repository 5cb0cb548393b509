"""The command ``uprez upscale``, which runs the engine without a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import InvalidFields, UprezError
from domain.formats import format_from_filename
from domain.sizing import SCALE_FACTORS, Sizing
from uprez.cli.options import Device, Model
from uprez.cli.progress import progress_bar
from uprez.settings import load_settings


class FileError(UprezError):
    """A file or folder on the command line cannot be used."""

    code = "file_unusable"


def upscale(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Image to upscale: JPEG, PNG, WebP, BMP, TIFF or GIF.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File for the result, in the same format.")],
    scale: Annotated[int | None, typer.Option(metavar="2|3|4", help="Scale factor. Default: 2.")] = None,
    width: Annotated[int | None, typer.Option(min=1, metavar="W", help="Exact width in pixels.")] = None,
    height: Annotated[int | None, typer.Option(min=1, metavar="H", help="Exact height in pixels.")] = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Upscale one image without a server. The result has the same bytes as the result of a server."""
    from workers.engine_child import EngineChild, EngineJob  # noqa: PLC0415  # the engine is slow to load

    settings = load_settings(model=model, device=device)
    if scale is not None and scale not in SCALE_FACTORS:
        raise typer.BadParameter("It must be 2, 3 or 4.", param_hint="--scale")
    try:
        sizing = Sizing.from_options(scale, width, height)
    except InvalidFields:
        raise typer.BadParameter(
            "It cannot be used together with --width or --height.", param_hint="--scale"
        ) from None
    if not source.is_file():
        raise FileError(f"There is no file {source}. Check the path.")
    if not target.absolute().parent.is_dir():
        raise FileError(
            f"There is no folder {target.absolute().parent}. Create it, or choose another folder for the result."
        )
    image_format = format_from_filename(source.name)
    if image_format is not None and format_from_filename(target.name) is not image_format:
        raise FileError(
            f"The result must have the format of {source.name}. Use a file name such as "
            f"{target.stem}{image_format.extension}."
        )
    with (
        EngineChild(settings.engine_options(), stall_seconds=settings.stall_seconds) as engine,
        progress_bar() as show_progress,
    ):
        report = engine.upscale(
            EngineJob(source.absolute(), target.absolute(), sizing),
            on_progress=show_progress,
            keep_going=lambda: True,
        )
    typer.echo(
        f"{target}: {report.original} → {report.result}, {report.model} on {report.device}, {report.seconds:.2f} s",
        file=sys.stderr,
    )
