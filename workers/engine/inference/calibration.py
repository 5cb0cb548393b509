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
FIRST_SIDE = 32
ENOUGH_SECONDS = 0.01  # a command waits for this before its one picture, and only orders of magnitude matter


def tile_seconds(network: Callable[[Floats], Floats], side: int, at_once: int) -> float:
    """How long tiles of ``side`` × ``side`` pixels, pad included, take with ``at_once`` of them on their way.

    A slow device is shown a part of such tiles, and the rest is reckoned by pixels. Raises DeviceFault.
    """
    shown = min(FIRST_SIDE, side)
    with ThreadPoolExecutor(at_once) as pool:
        while True:
            tile = np.full((3, shown, shown), 0.5, dtype=np.float32)
            began = time.monotonic()
            for answer in [pool.submit(network, tile) for _ in range(at_once)]:
                answer.result()
            seconds = time.monotonic() - began
            if seconds >= ENOUGH_SECONDS or shown == side:
                return seconds * (side / shown) ** 2
            shown = min(2 * shown, side)
