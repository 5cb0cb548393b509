"""How long a tile takes here: measured once at the start, so that a hang can be told from a slow device."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.engine.arrays import Floats

# What a convolution costs grows with the pixels, so a part of a tile tells what all of it takes; a small part
# tells too much, because each call has a cost of its own. That errs on the patient side.
FIRST_MEASURED_SIDE = 32
MIN_MEASURED_SECONDS = (
    0.01  # a command waits for this before its one picture, and only orders of magnitude matter
)


def tile_seconds(network: Callable[[Floats], Floats], side: int, at_once: int) -> float:
    """How long tiles of ``side`` × ``side`` pixels, pad included, take with ``at_once`` of them on their way.

    A slow device is shown a part of such tiles, and the rest is reckoned by pixels. Raises DeviceFault.
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
