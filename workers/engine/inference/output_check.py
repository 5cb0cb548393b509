"""Detect results that no working device returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workers.engine.errors import DeviceFault

if TYPE_CHECKING:
    from workers.engine.arrays import Floats
    from workers.engine.inference.device import Device

# The networks shift flat colours by up to 8 levels of 256; a tile brighter than twice that never becomes
# black.
VISIBLE = 16 / 255


def check_output(tile: Floats, larger: Floats, device: Device) -> None:
    """Check the result ``larger`` of a tile. Raise DeviceFault for values that are not numbers and for black.

    Black is permitted for a dark tile. Otherwise it comes from an overflow in 16 bits or from a buffer that
    was never written.
    """
    if not np.isfinite(larger).all():
        raise DeviceFault(f"{device.id} returned values that are not numbers.")
    if larger.max() <= 0 and tile.mean() > VISIBLE:
        raise DeviceFault(f"{device.id} returned black for a tile that is not black.")
