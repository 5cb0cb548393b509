"""Print the speed of a matrix product in GFLOP/s, which limits a direct convolution."""

from time import perf_counter

import numpy as np

SIDE = 3000

left, right = np.random.default_rng(1).random((2, SIDE, SIDE), dtype=np.float32)
seconds = []
for _ in range(5):
    began = perf_counter()
    left @ right
    seconds.append(perf_counter() - began)
print(2 * SIDE**3 / min(seconds) / 1e9)
