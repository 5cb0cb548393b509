from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.engine.inference.tiles import Plan, join_tiles, plan_tiles

sides = st.integers(1, 70)


def enlarge(block: np.ndarray, scale: int) -> np.ndarray:
    """Return ``(C, H, W)`` with each pixel repeated, like a network without a receptive field."""
    return block.repeat(scale, axis=1).repeat(scale, axis=2)


def blur_and_enlarge(block: np.ndarray, scale: int, radius: int) -> np.ndarray:
    """Behave like a network with a receptive field and zeros around the image, as convolutions have."""
    padded = np.pad(block, ((0, 0), (radius, radius), (radius, radius)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2, axis=(1, 2))
    return enlarge(windows.sum(axis=(3, 4), dtype=np.float64).astype(np.float32), scale)


def joined(plan: Plan, pixels: np.ndarray, scale: int, network: object) -> np.ndarray:
    outputs = (
        network(np.ascontiguousarray(tile.cut(pixels).transpose(2, 0, 1)), scale) for tile in plan.tiles
    )
    return np.concatenate(list(join_tiles(plan, outputs, scale)), axis=1)


@given(width=sides, height=sides, tile=st.integers(1, 40), pad=st.integers(0, 12))
def test_tiles_cover_every_pixel_once(width: int, height: int, tile: int, pad: int) -> None:
    covered = np.zeros((height, width), dtype=int)

    for part in plan_tiles(width, height, tile=tile, pad=pad, feather=0).tiles:
        covered[part.rows.start : part.rows.stop, part.columns.start : part.columns.stop] += 1
        assert part.rows.stop - part.rows.start <= tile
        assert part.columns.stop - part.columns.start <= tile

    assert (covered == 1).all()


@given(
    width=sides,
    height=sides,
    tile=st.integers(1, 40),
    pad=st.integers(0, 12),
    feather=st.integers(0, 12),
    scale=st.integers(1, 4),
)
def test_pixelwise_network_tiles_join_to_the_whole(
    width: int, height: int, tile: int, pad: int, feather: int, scale: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.float32)
    plan = plan_tiles(width, height, tile=tile, pad=pad, feather=min(feather, pad))

    result = joined(plan, pixels, scale, enlarge)

    np.testing.assert_allclose(result, enlarge(pixels.transpose(2, 0, 1), scale), atol=1e-3)


@settings(max_examples=50)
@given(
    width=sides,
    height=sides,
    tile=st.integers(1, 40),
    radius=st.integers(0, 4),
    more=st.integers(0, 3),
    scale=st.integers(1, 3),
)
def test_pad_of_the_receptive_field_joins_exactly(
    width: int, height: int, tile: int, radius: int, more: int, scale: int
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 1)).astype(np.float32)
    plan = plan_tiles(width, height, tile=tile, pad=radius + more, feather=0)

    result = joined(plan, pixels, scale, lambda block, scale: blur_and_enlarge(block, scale, radius))

    np.testing.assert_array_equal(result, blur_and_enlarge(pixels.transpose(2, 0, 1), scale, radius))


def test_neighbouring_tiles_are_blended_linearly() -> None:
    # There are two tiles in a row; one returns 0 and the other 1.
    plan = plan_tiles(64, 8, tile=32, pad=16, feather=8)
    outputs = iter([np.zeros((1, 16, 96), np.float32), np.ones((1, 16, 96), np.float32)])

    row = np.concatenate(list(join_tiles(plan, outputs, 2)), axis=1)[0, 0]

    assert row[0] == 0
    assert row[-1] == 1
    assert np.abs(np.diff(row)).max() == pytest.approx(1 / 32)
    np.testing.assert_allclose(row[48:80] + row[48:80][::-1], 1, atol=1e-6)


def test_bands_are_yielded_as_tiles_arrive() -> None:
    # An image of a thousand rows of tiles must not be in memory as a whole.
    plan = plan_tiles(8, 32, tile=8, pad=0, feather=0)
    consumed = []

    def outputs() -> object:
        for number in range(4):
            consumed.append(number)
            yield np.zeros((1, 8, 8), np.float32)

    bands = join_tiles(plan, outputs(), 1)
    next(bands)

    assert consumed == [0]
