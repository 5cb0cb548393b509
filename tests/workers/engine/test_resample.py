from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from domain.sizing import Size
from workers.engine.resample import resample

sides = st.integers(1, 90)


@given(source=st.tuples(sides, sides), result=st.tuples(sides, sides), rows=st.integers(1, 40))
def test_bands_equal_resampling_the_whole(
    source: tuple[int, int], result: tuple[int, int], rows: int
) -> None:
    width, height = source
    planes = np.random.default_rng(2).random((2, height, width), dtype=np.float32)
    bands = (planes[:, top : top + rows] for top in range(0, height, rows))

    joined = np.concatenate(list(resample(bands, Size(*source), Size(*result))), axis=1)

    whole = np.stack(
        [np.asarray(Image.fromarray(plane).resize(result, Image.Resampling.LANCZOS)) for plane in planes]
    )
    np.testing.assert_allclose(joined, whole, atol=1e-4)


def test_resample_yields_rows_early() -> None:
    # 1,000 rows come ten at a time and are halved: the first result rows must not wait for the last.
    seen = []

    def bands() -> object:
        for number in range(100):
            seen.append(number)
            yield np.zeros((1, 10, 4), np.float32)

    next(resample(bands(), Size(4, 1000), Size(2, 500)))

    assert len(seen) == 1
