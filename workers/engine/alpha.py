"""Transparency: give transparent parts the colour of what is beside them, and keep flat alpha flat.

A network that sees the black under transparent pixels draws it into the edges. Measured on hard and soft
edges: colour bled outwards keeps the edge's colour (173 of 173), premultiplied colour turns it to 0–135.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.engine.arrays import Floats, Pixels

BLEED_REACH = 24  # pixels; more than what shows in an edge of any of our networks


def bled(colour: Pixels, alpha: Pixels) -> Pixels:
    """``colour`` ``(H, W, C)`` with the visible colour spread into where ``alpha`` ``(H, W)`` is 0.

    Ring by ring, each pixel becomes the mean of its known neighbours; what lies further than the reach
    gets the mean of all that was known, so that nothing hidden there can come through.
    """
    known = np.pad(alpha > 0, 1)
    if known.all() or not known.any():
        return colour
    height, width, channels = colour.shape
    spread = np.pad(colour.astype(np.float32), ((1, 1), (1, 1), (0, 0))).reshape(-1, channels)
    inside = np.pad(np.ones((height, width), dtype=bool), 1).reshape(-1)
    row = width + 2
    flat_known = known.reshape(-1)
    everywhere = spread[flat_known].mean(axis=0)
    neighbours = np.array([-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1])

    ring = np.flatnonzero(flat_known)
    for _ in range(BLEED_REACH):
        around = np.unique(ring[:, None] + neighbours)
        ring = around[inside[around] & ~flat_known[around]]
        if not ring.size:
            break
        beside = ring[:, None] + neighbours
        weights = flat_known[beside].astype(np.float32)
        spread[ring] = (spread[beside] * weights[..., None]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
        flat_known[ring] = True
    spread[inside & ~flat_known] = everywhere
    filled = spread.reshape(height + 2, width + 2, channels)[1:-1, 1:-1]
    return np.where((alpha > 0)[..., None], colour, np.rint(filled).astype(colour.dtype))


def keep_flat(larger: Floats, alpha: Floats, scale: int) -> Floats:
    """``larger`` alpha 0–1, exactly 1 or 0 again where the original and all around it is opaque or transparent.

    A network moves flat values by some levels; a logo would get a veil over all of its background.
    """
    result = np.clip(larger, 0, 1)
    for flat in (0.0, 1.0):
        result[_enlarged(_eroded(alpha == flat), scale)] = flat
    return result


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True where the pixel and its eight neighbours are; beyond the border counts as the border."""
    height, width = mask.shape
    padded = np.pad(mask, 1, mode="edge")
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    eroded = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    assert eroded.shape == (height, width)
    return eroded


def _enlarged(mask: NDArray[np.bool_], scale: int) -> NDArray[np.bool_]:
    return mask.repeat(scale, axis=0).repeat(scale, axis=1)
