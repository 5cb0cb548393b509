"""Cut a picture of any size into tiles that a device can hold, and join what comes out, band by band.

At the border of the picture a tile simply ends: the network then sees the same zeros around the picture as
it would on the whole of it, so the joined result can equal the untiled one. Replicated edges would not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.engine.arrays import Floats, Pixels


@dataclass(frozen=True)
class Span:
    """One axis of a tile, in pixels of the picture.

    ``[start, stop)`` is its own part, ``[read_start, read_stop)`` what the network gets to see, and
    ``[keep_start, keep_stop)`` what of its output is used: beyond its own part only where neighbours blend.
    """

    start: int
    stop: int
    read_start: int
    read_stop: int
    keep_start: int
    keep_stop: int

    @property
    def lead(self) -> int:
        """How many pixels at the beginning are blended with the tile before: twice the feather, or 0."""
        return 2 * (self.start - self.keep_start)

    def kept(self, scale: int) -> slice:
        """Where the kept part lies within the network's output for what was read."""
        return slice((self.keep_start - self.read_start) * scale, (self.keep_stop - self.read_start) * scale)


@dataclass(frozen=True)
class Tile:
    rows: Span
    columns: Span

    def cut(self, pixels: Pixels) -> Pixels:
        """What the network gets to see of a picture ``(H, W, …)``; a view."""
        rows, columns = self.rows, self.columns
        return pixels[rows.read_start : rows.read_stop, columns.read_start : columns.read_stop]


@dataclass(frozen=True)
class Plan:
    """All tiles of a picture: every pair of a row span and a column span."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def tiles(self) -> list[Tile]:
        """Row by row, each from left to right: the order in which ``join_tiles`` wants their outputs."""
        return [Tile(rows, columns) for rows in self.rows for columns in self.columns]


def plan_tiles(width: int, height: int, *, tile: int, pad: int, feather: int) -> Plan:
    """Tiles of at most ``tile`` pixels a side, of nearly equal size, that cover the picture exactly once."""
    assert 0 <= feather <= pad
    return Plan(_spans(height, tile, pad, feather), _spans(width, tile, pad, feather))


def join_tiles(plan: Plan, outputs: Iterator[Floats], scale: int) -> Iterator[Floats]:
    """Bands ``(C, rows, width × scale)`` from top to bottom, that together are the whole larger picture.

    ``outputs`` are the network's outputs ``(C, h × scale, w × scale)`` for what each tile read, in the
    plan's order. Only one band is in memory at a time. Where neighbours overlap, the weight goes over
    linearly from one to the other, first within a band, then between bands.
    """
    below: Floats | None = None  # the end of the band before, which the next one blends with
    for rows, following in _with_following(plan.rows):
        band = _join_row(rows, plan.columns, outputs, scale)
        if below is not None:
            _blend(band, below, axis=1)
        if following is None:
            yield band
        else:
            done = band.shape[1] - following.lead * scale
            below = band[:, done:].copy()
            yield band[:, :done]


def _spans(length: int, tile: int, pad: int, feather: int) -> tuple[Span, ...]:
    count = -(-length // tile)
    # Balanced, no part is shorter than half a tile, so a quarter of it keeps overlaps from overlapping.
    feather = min(feather, tile // 4)
    borders = [length * index // count for index in range(count + 1)]
    return tuple(
        Span(
            start,
            stop,
            read_start=max(0, start - pad),
            read_stop=min(length, stop + pad),
            keep_start=max(0, start - feather),
            keep_stop=min(length, stop + feather),
        )
        for start, stop in pairwise(borders)
    )


def _with_following(spans: tuple[Span, ...]) -> Iterator[tuple[Span, Span | None]]:
    yield from zip(spans, (*spans[1:], None), strict=True)


def _join_row(rows: Span, columns: tuple[Span, ...], outputs: Iterator[Floats], scale: int) -> Floats:
    band: Floats | None = None
    for column in columns:
        output = next(outputs)[:, rows.kept(scale), column.kept(scale)]
        if band is None:
            band = np.empty((*output.shape[:2], columns[-1].stop * scale), dtype=np.float32)
        left = column.keep_start * scale
        lead = column.lead * scale
        if lead:
            overlap = band[:, :, left : left + lead].copy()
            output = output.copy()
            _blend(output, overlap, axis=2)
        band[:, :, left : left + output.shape[2]] = output
    assert band is not None
    return band


def _blend(second: Floats, first: Floats, axis: int) -> None:
    """Mix ``first`` into the beginning of ``second`` along ``axis``, in place, from all to nothing."""
    length = first.shape[axis]
    weight = ((np.arange(length, dtype=np.float32) + 0.5) / length).reshape(-1, *[1] * (2 - axis))
    beginning = second[:, :length] if axis == 1 else second[:, :, :length]
    beginning += (first - beginning) * (1 - weight)
