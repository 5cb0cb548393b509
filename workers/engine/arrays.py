"""The two kinds of arrays that pictures are in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""As in a file: ``(H, W, C)``, 0 to 255 or 65,535."""

Floats = NDArray[np.float32]
"""As networks want it: planar ``(C, H, W)``, 0 to 1, sometimes a little beyond."""

Pixels16 = NDArray[np.uint16]
"""Those of ``Pixels`` that have 16 bits in each channel."""

MAX_16BIT = 65_535
