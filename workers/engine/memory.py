"""Which tiles, and how many at a time, keep an engine within so much memory."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.engine.errors import EngineUnusable
from workers.engine.models import ANIMEVIDEO, MODELS, X4PLUS, X4PLUS_ANIME, Precision
from workers.engine.protocol import SMALLEST_TILE_SIDE

if TYPE_CHECKING:
    from workers.engine.models import Model

MEGABYTE = 2**20
AT_ONCE = 2  # the side must not depend on how many processors there are: a result's bytes depend on it


@dataclass(frozen=True)
class Need:
    """In bytes, as measured on Linux and rounded up: before the first tile, and then for each tile in work as much
    for each pixel that the network gets to see, and for the cell of it that is computed.
    """

    ready: int
    bytes_per_pixel: int
    cell: int = 0


_NEEDS = {
    (ANIMEVIDEO.name, Precision.FP32): Need(110 * MEGABYTE, 4_000),
    (ANIMEVIDEO.name, Precision.BF16): Need(110 * MEGABYTE, 3_500),
    (X4PLUS.name, Precision.FP32): Need(450 * MEGABYTE, 3_000, cell=260 * MEGABYTE),
    (X4PLUS.name, Precision.BF16): Need(450 * MEGABYTE, 3_000, cell=240 * MEGABYTE),
    (X4PLUS_ANIME.name, Precision.FP32): Need(220 * MEGABYTE, 3_000, cell=260 * MEGABYTE),
    (X4PLUS_ANIME.name, Precision.BF16): Need(220 * MEGABYTE, 3_000, cell=240 * MEGABYTE),
}
_UNKNOWN = _NEEDS[X4PLUS.name, Precision.FP32]


def _need(model: Model, precision: Precision) -> Need:
    if model.name in MODELS:
        return _NEEDS.get((model.name, precision), _UNKNOWN)
    # As much as x4plus takes on whole tiles: nothing larger than that is to be expected, of all its networks at once.
    return Need(_UNKNOWN.ready * len(model.networks), 53_000)


def tiles_within(
    megabytes: int, model: Model, precision: Precision, side: int, threads: int
) -> tuple[int, int]:
    """The side of a tile without its pad, at most ``side``, and how many at a time, at most ``threads``.

    The picture, its result and one row of joined tiles come on top. Raises EngineUnusable when not even one
    small tile fits.
    """
    need = _need(model, precision)
    room = megabytes * MEGABYTE - need.ready
    largest = math.isqrt(max(0, room // AT_ONCE - need.cell) // need.bytes_per_pixel) - 2 * model.pad
    side = min(side, max(largest, SMALLEST_TILE_SIDE))
    tile = (side + 2 * model.pad) ** 2 * need.bytes_per_pixel + need.cell
    if tile > room:
        least = math.ceil((need.ready + tile) / MEGABYTE)
        raise EngineUnusable(
            f"{megabytes} MB of memory are too few for {model.name}: it takes {least} at least."
        )
    return side, min(threads, room // tile)


def give_back_memory() -> None:
    """To the system, what has been freed: the GNU C library keeps some hundred MB, in pieces too small for a network."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # others have none
    if trim is not None:
        trim(0)
