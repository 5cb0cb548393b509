"""The side and number of tiles that keep an engine within a memory limit."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.engine.errors import EngineUnusable
from workers.engine.inference.models import ANIMEVIDEO, MODELS, X4PLUS, X4PLUS_ANIME, Precision
from workers.engine.options import SMALLEST_TILE_SIDE

if TYPE_CHECKING:
    from workers.engine.inference.models import Model

MEGABYTE = 2**20
# The side must not depend on the number of processors, because a result's bytes depend on the side.
AT_ONCE = 2


@dataclass(frozen=True)
class MemoryNeed:
    """The memory of a model in bytes, measured on Linux and rounded up.

    ``ready`` is needed before the first tile, ``bytes_per_pixel`` for each pixel of a tile that the network
    reads. If threads share a tile, each computes a cell of it, which needs ``cell`` more.
    """

    ready: int
    bytes_per_pixel: int
    cell: int = 0


_NEEDS = {
    (ANIMEVIDEO.name, Precision.FP32): MemoryNeed(110 * MEGABYTE, 4_000),
    (ANIMEVIDEO.name, Precision.BF16): MemoryNeed(110 * MEGABYTE, 3_500),
    (X4PLUS.name, Precision.FP32): MemoryNeed(450 * MEGABYTE, 3_000, cell=260 * MEGABYTE),
    (X4PLUS.name, Precision.BF16): MemoryNeed(450 * MEGABYTE, 3_000, cell=240 * MEGABYTE),
    (X4PLUS_ANIME.name, Precision.FP32): MemoryNeed(220 * MEGABYTE, 3_000, cell=260 * MEGABYTE),
    (X4PLUS_ANIME.name, Precision.BF16): MemoryNeed(220 * MEGABYTE, 3_000, cell=240 * MEGABYTE),
}
_UNKNOWN = _NEEDS[X4PLUS.name, Precision.FP32]


def _need(model: Model, precision: Precision) -> MemoryNeed:
    """Return the memory that the model needs; it is measured for fp32 and bf16 of a shipped model.

    For int8 it is that of x4plus in fp32, whichever the shipped model. For an operator's model it is an estimate that
    grows with the number of its networks.
    """
    if model.name in MODELS:
        return _NEEDS.get((model.name, precision), _UNKNOWN)
    # This is the need of x4plus on whole tiles, for all networks of the model at once: a larger model is not
    # expected.
    return MemoryNeed(_UNKNOWN.ready * len(model.networks), 53_000)


def tiles_within(
    megabytes: int, model: Model, precision: Precision, side: int, threads: int
) -> tuple[int, int]:
    """Return the side of a tile without its pad and the number of threads that fit the memory.

    They are at most ``side`` and ``threads``. The image, its result and one row of joined tiles are not
    included. Raise EngineUnusable if one small tile does not fit.
    """
    need = _need(model, precision)
    room = megabytes * MEGABYTE - need.ready
    tiles = 1 if need.cell else AT_ONCE
    pixels = max(0, room - AT_ONCE * need.cell) // tiles // need.bytes_per_pixel
    side = min(side, max(math.isqrt(pixels) - 2 * model.pad, SMALLEST_TILE_SIDE))
    tile = (side + 2 * model.pad) ** 2 * need.bytes_per_pixel
    shared, each = (tile, need.cell) if need.cell else (0, tile)
    if shared + each > room:
        least = math.ceil((need.ready + shared + each) / MEGABYTE)
        raise EngineUnusable(
            f"{megabytes} MB of memory are too few for {model.name}: it needs at least {least}."
        )
    return side, min(threads, (room - shared) // each)


def release_memory() -> None:
    """Return freed memory to the system.

    The GNU C library keeps some hundred MB of it, in pieces that are too small for a network.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries do not have it
    if trim is not None:
        trim(0)
