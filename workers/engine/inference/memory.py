"""Which tiles, and how many at a time, keep an engine within so much memory."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.engine.errors import EngineUnusable
from workers.engine.inference.models import ANIMEVIDEO, MODELS, X4PLUS, X4PLUS_ANIME, Precision
from workers.engine.protocol import SMALLEST_TILE_SIDE

if TYPE_CHECKING:
    from workers.engine.inference.models import Model

MEGABYTE = 2**20
AT_ONCE = 2  # the side must not depend on how many processors there are: a result's bytes depend on it


@dataclass(frozen=True)
class Need:
    """In bytes, as measured on Linux and rounded up: before the first tile, and for each pixel of a tile that the
    network gets to see. Where threads share a tile, each takes a cell of it, and that as much again as ``cell``.
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
    """The side of a tile without its pad, at most ``side``, and how many threads, at most ``threads``.

    The picture, its result and one row of joined tiles come on top. Raises EngineUnusable when not even one
    small tile fits.
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
            f"{megabytes} MB of memory are too few for {model.name}: it takes {least} at least."
        )
    return side, min(threads, (room - shared) // each)


def release_memory() -> None:
    """To the system, what has been freed: the GNU C library keeps some hundred MB, in pieces too small for a network."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # others have none
    if trim is not None:
        trim(0)
