"""Cut an image into tiles that fit a device, and join the results band by band.

At the border of the image a tile ends without padding: the network then sees the same zeros around the image
as it would for the whole image, so the joined result can equal the untiled one. Replicated edges would change
it.
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
    """One axis of a tile, in pixels of the image.

    ``[start, stop)`` is the tile's own part, ``[read_start, read_stop)`` the part that the network reads, and
    ``[keep_start, keep_stop)`` the part of its output that is used: it exceeds the own part only where
    neighbours blend.
    """

    start: int
    stop: int
    read_start: int
    read_stop: int
    keep_start: int
    keep_stop: int

    @property
    def lead(self) -> int:
        """Return the number of pixels that blend with the tile before: twice the feather, or 0."""
        return 2 * (self.start - self.keep_start)

    def kept(self, scale: int) -> slice:
        """Return the slice of the kept part within the network's output."""
        return slice((self.keep_start - self.read_start) * scale, (self.keep_stop - self.read_start) * scale)


@dataclass(frozen=True)
class Tile:
    """One tile of an image."""

    rows: Span
    columns: Span

    def cut(self, pixels: Pixels) -> Pixels:
        """Return a view of the part of an image ``(H, W, …)`` that the network reads."""
        rows, columns = self.rows, self.columns
        return pixels[rows.read_start : rows.read_stop, columns.read_start : columns.read_stop]


@dataclass(frozen=True)
class Plan:
    """All tiles of an image: each row span combined with each column span."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def tiles(self) -> list[Tile]:
        """Return the tiles row by row from left to right, the order that ``join_tiles`` expects."""
        return [Tile(rows, columns) for rows in self.rows for columns in self.columns]


def plan_tiles(width: int, height: int, *, tile: int, pad: int, feather: int) -> Plan:
    """Return tiles of at most ``tile`` pixels on a side that cover the image exactly once.

    Their sizes are nearly equal.
    """
    assert 0 <= feather <= pad
    return Plan(_spans(height, tile, pad, feather), _spans(width, tile, pad, feather))


def join_tiles(plan: Plan, outputs: Iterator[Floats], scale: int) -> Iterator[Floats]:
    """Yield bands ``(C, rows, width × scale)`` of the whole larger image, from top to bottom.

    ``outputs`` are the network's outputs ``(C, h × scale, w × scale)`` for what each tile read, in the plan's
    order. Only one band is in memory at a time. Where neighbours overlap, the weight changes linearly from
    one to the other, first within a band, then between bands.
    """
    below: Floats | None = None  # the end of the band before, which the next band blends with
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
    """Split a length into the fewest parts of at most ``tile`` pixels, of nearly equal lengths.

    Each part reads ``pad`` pixels more on each side, and keeps ``feather`` more for the overlap, at most a
    quarter of a tile; both end at the image's edges.
    """
    count = -(-length // tile)
    # A part is never shorter than half a tile, so a quarter of a tile keeps two overlaps apart.
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
    """Yield each span with the one that follows; the last one with None."""
    yield from zip(spans, (*spans[1:], None), strict=True)


def _join_row(rows: Span, columns: tuple[Span, ...], outputs: Iterator[Floats], scale: int) -> Floats:
    """Join the outputs of one row of tiles, from left to right, to a band; overlaps are blended.

    Take one output for each column from the iterator. The band includes the row's own overlap with other
    rows.
    """
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
    """Mix ``first`` into the beginning of ``second`` along ``axis`` (1 or 2), in place.

    The weight of ``first`` falls from 1 to 0.
    """
    length = first.shape[axis]
    weight = ((np.arange(length, dtype=np.float32) + 0.5) / length).reshape(-1, *[1] * (2 - axis))
    beginning = second[:, :length] if axis == 1 else second[:, :, :length]
    beginning += (first - beginning) * (1 - weight)
