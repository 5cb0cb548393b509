"""Options that several commands share; each overrides a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Data folder of the service [env: UPREZ_DATA, else ./uprez-data]."
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="auto|cpu|vulkan:N[,…]", help="Device that computes [env: UPREZ_DEVICE, else auto]."
    ),
]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="Model that upscales [env: UPREZ_MODEL, else auto].")
]
