"""The kinds of arrays that hold an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""``(H, W, C)`` as in a file: 0 to 255 or 0 to 65,535."""

Floats = NDArray[np.float32]
"""Planar ``(C, H, W)`` as networks need it: 0 to 1, sometimes a little beyond."""

Pixels16 = NDArray[np.uint16]
"""``Pixels`` with 16 bits in each channel."""

MAX_16BIT = 65_535
