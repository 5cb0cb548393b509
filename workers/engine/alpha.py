"""Transparency: fill transparent parts with the colour next to them, and keep flat alpha flat.

A network that sees the black under transparent pixels draws it into the edges. Measured on hard and soft
edges: colour bled outwards keeps the edge's colour (173 of 173), premultiplied colour changes it to 0–135.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.engine.arrays import Floats, Pixels

BLEED_REACH = 24  # pixels; more than affects an edge in any of the shipped networks


def bleed_colour(colour: Pixels, alpha: Pixels) -> Pixels:
    """Return ``colour`` ``(H, W, C)`` with the visible colour spread to where ``alpha`` ``(H, W)`` is 0.

    Ring by ring, each pixel becomes the mean of its known neighbours. Pixels beyond the reach get the mean of
    all visible pixels, so that no hidden colour there can show.
    """
    known = np.pad(alpha > 0, 1)
    unknown = np.pad(alpha == 0, 1)
    if not unknown.any() or not known.any():
        return colour
    result = colour.copy()
    everywhere = colour.mean(axis=(0, 1), where=known[1:-1, 1:-1, None])
    # Only rings are computed, because most images with alpha are opaque nearly everywhere.
    ring = np.flatnonzero(_dilated(known) & unknown)
    row = known.shape[1]
    neighbours = (-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1)
    spread = np.pad(colour, ((1, 1), (1, 1), (0, 0))).astype(np.float32).reshape(-1, colour.shape[2])
    flat_known, flat_unknown = known.reshape(-1), unknown.reshape(-1)
    for _ in range(BLEED_REACH):
        if not ring.size:
            break
        # The neighbours are added one by one: all eight at once need gigabytes where alpha is noise.
        total = np.zeros((ring.size, colour.shape[2]), dtype=np.float32)
        count = np.zeros((ring.size, 1), dtype=np.float32)
        for neighbour in neighbours:
            weight = flat_known[ring + neighbour, None]
            total += spread[ring + neighbour] * weight
            count += weight
        spread[ring] = total / count
        flat_known[ring], flat_unknown[ring] = True, False
        around = [near[flat_unknown[near]] for near in (ring + neighbour for neighbour in neighbours)]
        ring = np.unique(np.concatenate(around))
    spread[flat_unknown] = everywhere
    hidden = alpha == 0
    result[hidden] = np.rint(spread.reshape(*known.shape, -1)[1:-1, 1:-1][hidden])
    return result


def restore_flat(larger: Floats, alpha: Floats, scale: int) -> Floats:
    """Return the enlarged alpha, with the original's values where those do not change from pixel to pixel.

    Values of ``larger`` are 0–1. A network moves flat values by some levels, differently in each tile: a logo
    would get a veil over its whole background, and half-transparent glass would show the borders of tiles.
    """
    kept = np.where(_flat(alpha), alpha, np.float32(np.nan)).repeat(scale, axis=0).repeat(scale, axis=1)
    return np.where(np.isnan(kept), np.clip(larger, 0, 1), kept)


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return True where the pixel or one of its eight neighbours is True."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def _flat(alpha: Floats) -> NDArray[np.bool_]:
    """Return True where the eight neighbours equal the pixel; beyond the border the border's values count."""
    padded = np.pad(alpha, 1, mode="edge")
    down = padded[1:] == padded[:-1]
    across = padded[:, 1:] == padded[:, :-1]
    # Each of the three columns has one value, and the middle row that joins them has one as well.
    columns = down[:-1] & down[1:]
    middle = across[1:-1]
    flat: NDArray[np.bool_] = (
        columns[:, :-2] & columns[:, 1:-1] & columns[:, 2:] & middle[:, :-1] & middle[:, 1:]
    )
    return flat
