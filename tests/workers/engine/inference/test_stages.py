from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engine.errors import DeviceFault, EngineCancelled
from workers.engine.inference.device import cpu_device
from workers.engine.inference.models import X4PLUS, X4PLUS_ANIME, Precision, weights_folder
from workers.engine.inference.network import LoadedNetwork
from workers.engine.inference.stages import Stage, read_stages, run_stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

NETWORK = X4PLUS_ANIME.network_for(4)


def planar(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255


def loaded(cell: int | None, threads: int = 1) -> LoadedNetwork:
    return LoadedNetwork(replace(NETWORK, cell=cell), cpu_device(), Precision.FP32, weights_folder(), threads)


def test_each_residual_block_is_a_stage() -> None:
    found = read_stages(weights_folder() / f"{X4PLUS.network_for(4).stem}.param")

    first, *blocks, trunk, upper = found
    assert first == Stage(
        ("data",), ("703", "719"), reach=6, scale=1
    )  # one convolution, and five in the block
    assert len(blocks) == 3 * 23 - 1
    assert {(block.reach, block.scale, len(block.outputs)) for block in blocks} == {(5, 1, 1)}
    assert [len(block.inputs) for block in blocks] == [1, 2] + [
        1,
        1,
        2,
    ] * 22  # every third block ends an RRDB
    assert trunk == Stage(("1876", "703"), ("1878",), reach=1, scale=1)
    assert upper == Stage(("1878",), ("output",), reach=2, scale=4)


def test_every_stage_input_is_an_earlier_output() -> None:
    known = {"data"}
    for stage in read_stages(weights_folder() / f"{NETWORK.stem}.param"):
        assert known.issuperset(stage.inputs)
        known |= set(stage.outputs)
    assert NETWORK.output_blob in known


# Cells join exactly except for rounding: another cell size changes the order of additions in ncnn's
# convolutions.
def test_stages_in_cells_equal_the_whole_network(coffee: Image.Image) -> None:
    tile = planar(coffee.crop((300, 50, 353, 81)))

    assert np.abs(loaded(20)(tile) - loaded(None)(tile)).max() * 255 < 0.01


def test_cell_threads_do_not_change_the_result(coffee: Image.Image) -> None:
    tile = planar(coffee.crop((300, 50, 340, 74)))

    np.testing.assert_array_equal(loaded(12, threads=1)(tile), loaded(12, threads=3)(tile))


# Because of this a slow tile sends heartbeats and can be cancelled before its end.
def test_after_stage_is_called_and_can_cancel(coffee: Image.Image) -> None:
    network = loaded(12)
    tile = planar(coffee.crop((300, 50, 316, 66)))
    calls = []

    network.after_stage = lambda: calls.append(True)
    network(tile)
    assert len(calls) == 3 * 6 + 2

    def cancel() -> None:
        raise EngineCancelled

    network.after_stage = cancel
    with pytest.raises(EngineCancelled):
        network(tile)


def test_fault_in_a_cell_raises_device_fault(coffee: Image.Image) -> None:
    network = loaded(12, threads=2)
    tile = planar(coffee.crop((300, 50, 324, 74)))
    tile[1, 20, 20] = np.nan

    with pytest.raises(DeviceFault, match="not numbers"):
        network(tile)


# The layers sum neighbours, so that one missing pixel around a cell is detected.
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    cell=st.integers(2, 12),
    reach=st.integers(0, 4),
    scale=st.sampled_from([1, 2, 4]),
)
def test_cells_of_any_size_join_to_the_whole(
    height: int, width: int, cell: int, reach: int, scale: int
) -> None:
    steps = [
        Stage(("in",), ("middle", "side"), reach, 1),
        Stage(("middle", "side"), ("out",), reach, scale),
    ]

    def extract(inputs: dict[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        if "middle" in names:
            return [neighbour_sums(inputs["in"], reach), 2 * inputs["in"]]
        larger = neighbour_sums(inputs["middle"], reach) + inputs["side"]
        return [larger.repeat(scale, axis=1).repeat(scale, axis=2)]

    image = np.random.default_rng(7).integers(0, 9, (1, height, width)).astype(np.float32)
    with ThreadPoolExecutor(2) as pool:
        joined = run_stages(steps, {"in": image}, extract, cell, pool, lambda: None)

    (middle, side) = extract({"in": image}, ["middle", "side"])
    (whole,) = extract({"middle": middle, "side": side}, ["out"])
    np.testing.assert_array_equal(joined, whole)


def neighbour_sums(blob: np.ndarray, reach: int) -> np.ndarray:
    """Return for each pixel the sum of the square around it, with zeros beyond the border."""
    _, height, width = blob.shape
    padded = np.pad(blob, ((0, 0), (reach, reach), (reach, reach)))
    side = 2 * reach + 1
    return sum(padded[:, y : y + height, x : x + width] for y in range(side) for x in range(side))
