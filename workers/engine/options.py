"""The options of an engine: device, model, tiles, precision, memory, metadata.

It uses only the standard library: the process that starts an engine must not load ncnn.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

AUTO = "auto"
CPU = "cpu"
# With a pad of 32, nine tenths of the work on such a tile are for the pad: it is only for little memory.
SMALLEST_TILE_SIDE = 32


class MetadataPolicy(StrEnum):
    """The EXIF and XMP that a result keeps of its original; colour profile and resolution always stay."""

    KEEP = "keep"
    STRIP_LOCATION = "strip-location"
    STRIP = "strip"


@dataclass(frozen=True)
class EngineOptions:
    """The settings of an engine. None: the value that the model and the device suggest.

    ``device`` is auto, cpu, vulkan:N, or several with commas between them, best first; ``model`` is auto or a
    name. ``tile_side`` is the largest side of a tile in pixels of the original, without the pad;
    ``tile_threads`` is the number of tiles in progress at once; ``precision`` is fp32, bf16 or int8 and
    affects CPUs only. ``memory_mb``, in units of 2**20 bytes, bounds everything but the image, its result and
    a row of joined tiles. ``network_cache`` is the folder for networks converted to 8 bits, ``models`` the folder of
    the operator's own models with their manifests.
    """

    device: str = AUTO
    model: str = AUTO
    tile_side: int | None = None
    tile_threads: int | None = None
    precision: str | None = None
    memory_mb: int | None = None
    metadata: MetadataPolicy = MetadataPolicy.KEEP
    network_cache: Path | None = None
    models: Path | None = None
