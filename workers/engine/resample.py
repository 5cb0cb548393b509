"""The Lanczos resampling from a network's output to the exact size of the result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from domain.sizing import Size
    from workers.engine.arrays import Floats

LANCZOS_RADIUS = 3  # of Pillow's filter, in pixels of the smaller of the two sizes


def resample(bands: Iterable[Floats], source: Size, result: Size) -> Iterator[Floats]:
    """Resample bands ``(C, rows, width)`` to the size ``result`` and yield bands from top to bottom.

    A whole x4 output of a large photograph would need gigabytes, so only the rows that later result rows
    still need are kept. The values equal those of resampling the whole image at once.
    """
    if source == result:
        yield from bands
        return
    step = source.height / result.height
    reach = LANCZOS_RADIUS * max(1.0, step) + 1  # one more row for rounding
    first_held = 0
    done = 0
    rows_held: Floats | None = None
    for band in bands:
        rows_held = band if rows_held is None else np.concatenate((rows_held, band), axis=1)
        arrived = first_held + rows_held.shape[1]
        ready = result.height if arrived == source.height else math.floor((arrived - reach) / step)
        if ready <= done:
            continue
        yield _resize_rows(
            rows_held,
            source.width,
            result.width,
            ready - done,
            (done * step - first_held, ready * step - first_held),
        )
        done = ready
        unneeded = max(0, math.floor(done * step - reach) - first_held)
        rows_held = rows_held[:, unneeded:]
        first_held += unneeded


def _resize_rows(
    rows: Floats, width: int, new_width: int, new_height: int, box: tuple[float, float]
) -> Floats:
    """Return the result rows for the source rows from ``box[0]`` to ``box[1]``.

    The filter also reads rows outside of the box.
    """
    top, bottom = max(0.0, box[0]), min(float(rows.shape[1]), box[1])
    return np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(channel)).resize(
                    (new_width, new_height), Image.Resampling.LANCZOS, box=(0, top, width, bottom)
                )
            )
            for channel in rows
        ]
    )
