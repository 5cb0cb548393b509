"""Measure the time for a tile once at the start, so that a hang can be distinguished from a slow device."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.engine.arrays import Floats

# The cost of a convolution grows with the pixels, so a part of a tile is enough to estimate the whole. A
# small part gives a value that is too high, because each call has a fixed cost; the limit for a hang is then
# longer.
FIRST_MEASURED_SIDE = 32
MIN_MEASURED_SECONDS = 0.01  # a command waits for this before its image; an order of magnitude is enough


def tile_seconds(network: Callable[[Floats], Floats], side: int, at_once: int) -> float:
    """Return the seconds that ``at_once`` parallel tiles of ``side`` × ``side`` pixels take, by running them.

    ``side`` includes the pad. On a slow device, smaller tiles are measured, and their time is extrapolated by
    pixels. Raise what ``network`` raises, such as DeviceFault.
    """
    measured_side = min(FIRST_MEASURED_SIDE, side)
    with ThreadPoolExecutor(at_once) as pool:
        while True:
            tile = np.full((3, measured_side, measured_side), 0.5, dtype=np.float32)
            began = time.monotonic()
            for future in [pool.submit(network, tile) for _ in range(at_once)]:
                future.result()
            seconds = time.monotonic() - began
            if seconds >= MIN_MEASURED_SECONDS or measured_side == side:
                return seconds * (side / measured_side) ** 2
            measured_side = min(2 * measured_side, side)
