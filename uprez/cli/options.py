"""Options that several commands share; each is a setting, so its default is the environment's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Folder of the service's data [env: UPREZ_DATA, else ./uprez-data]."
    ),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="auto|cpu|vulkan:N[,…]", help="Where to compute [env: UPREZ_DEVICE, else auto]."),
]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="Network that upscales [env: UPREZ_MODEL, else auto].")
]
