"""What no sound device answers, whatever the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workers.engine.errors import DeviceFault

if TYPE_CHECKING:
    from workers.engine.arrays import Floats
    from workers.engine.inference.device import Device

# The networks shift flat colours by up to 8 levels of 256; what is brighter than twice that comes out bright.
VISIBLE = 16 / 255


def check_output(tile: Floats, larger: Floats, device: Device) -> None:
    """``larger`` is what the device made of ``tile``. Raises DeviceFault for values that are no numbers, and for
    black where the tile is not: what an overflow in 16 bits leaves, or a buffer that nobody wrote to.
    """
    if not np.isfinite(larger).all():
        raise DeviceFault(f"{device.id} answered with values that are no numbers.")
    if larger.max() <= 0 and tile.mean() > VISIBLE:
        raise DeviceFault(f"{device.id} answered with black to a tile that is not black.")
