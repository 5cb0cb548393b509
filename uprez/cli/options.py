"""Options that several commands share; each overrides a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Data folder of the service. Default: UPREZ_DATA or ./uprez-data."
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="auto|cpu|vulkan:N[,…]", help="Device that computes. Default: UPREZ_DEVICE or auto."
    ),
]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="Model that upscales. Default: UPREZ_MODEL or auto.")
]
