from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from workers.engine.alpha import BLEED_REACH, bleed_colour, restore_flat


def test_visible_colour_spreads_into_transparent_pixels() -> None:
    colour = np.zeros((9, 60, 3), np.uint8)
    alpha = np.zeros((9, 60), np.uint8)
    colour[:, :10] = (200, 100, 50)
    alpha[:, :10] = 255

    result = bleed_colour(colour, alpha)

    assert (result[:, :10] == colour[:, :10]).all()
    assert (result == (200, 100, 50)).all()


def test_edges_get_the_colour_of_their_neighbours() -> None:
    colour = np.zeros((5, 40, 1), np.uint16)
    alpha = np.zeros((5, 40), np.uint16)
    colour[:, :5], colour[:, -5:] = 60_000, 10_000
    alpha[:, :5] = alpha[:, -5:] = 65_535

    result = bleed_colour(colour, alpha)

    assert (result[:, 5:9] == 60_000).all()
    assert (result[:, -9:-5] == 10_000).all()
    assert result.dtype == np.uint16


def test_distant_hidden_colour_is_replaced() -> None:
    colour = np.full((3, 2 * BLEED_REACH + 40, 3), 255, np.uint8)
    alpha = np.zeros(colour.shape[:2], np.uint8)
    colour[:, 0], alpha[:, 0] = 10, 255

    assert (bleed_colour(colour, alpha) == 10).all()


@pytest.mark.parametrize("opacity", [0, 255])
def test_image_without_alpha_edge_is_unchanged(opacity: int) -> None:
    colour = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)

    assert (bleed_colour(colour, np.full((4, 4), opacity, np.uint8)) == colour).all()


@pytest.mark.parametrize("alpha", ["hole", "noise"])
def test_bleed_colour_memory_is_bounded(alpha: str) -> None:
    colour = np.full((1000, 2000, 3), 100, np.uint8)
    visible = np.full(colour.shape[:2], 255, np.uint8)
    if alpha == "hole":
        visible[:4, :4] = 0
    else:
        visible[np.random.default_rng(0).random(visible.shape) < 0.5] = 0

    tracemalloc.start()
    try:
        result = bleed_colour(colour, visible)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (result == 100).all()
    # This is one float32 copy and some masks. Noise has edges everywhere, so its rings are half of the image.
    assert peak < {"hole": 9, "noise": 20}[alpha] * colour.nbytes


def test_flat_alpha_is_restored_and_slopes_are_not() -> None:
    alpha = np.random.default_rng(0).choice(np.float32([0, 0.5, 1]), (40, 40), p=[0.1, 0.8, 0.1])
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(alpha, 1, mode="edge"), (3, 3))
    flat = windows.min(axis=(2, 3)) == windows.max(axis=(2, 3))

    result = restore_flat(np.full((80, 80), 0.25, np.float32), alpha, 2)

    np.testing.assert_array_equal(result[::2, ::2], np.where(flat, alpha, 0.25))
    np.testing.assert_array_equal(result[1::2, 1::2], result[::2, ::2])


def test_restore_flat_keeps_edges() -> None:
    alpha = np.zeros((6, 12), np.float32)
    alpha[:, 6:] = 1
    veiled = alpha.repeat(2, axis=0).repeat(2, axis=1) * 0.9 + 0.03

    result = restore_flat(veiled.astype(np.float32), alpha, 2)

    assert (result[:, :10] == 0).all()
    assert (result[:, 14:] == 1).all()
    assert result[0, 10] == pytest.approx(0.03)
    assert result[0, 13] == pytest.approx(0.93)
