from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from workers.engine.errors import DeviceFault
from workers.engine.inference.device import Device, DeviceKind
from workers.engine.inference.output_check import check_output

if TYPE_CHECKING:
    from PIL import Image

    from workers.engine.inference.loaded_model import LoadedModel

CARD = Device("vulkan:0", "Some card", DeviceKind.DISCRETE_GPU, 0)


def flat(value: float, side: int = 8) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full((3, side, side), value, dtype=np.float32)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_value_that_is_no_number_is_a_fault(value: float) -> None:
    output = flat(0.5, 16)
    output[1, 7, 3] = value

    with pytest.raises(DeviceFault, match="vulkan:0 answered with values that are no numbers"):
        check_output(flat(0.5), output, CARD)


# Below 0 as well: a result is cut off there.
@pytest.mark.parametrize("black", [0.0, -0.2])
def test_black_is_a_fault_where_the_tile_is_not(black: float) -> None:
    with pytest.raises(DeviceFault, match="vulkan:0 answered with black"):
        check_output(flat(0.2), flat(black, 16), CARD)


def test_black_is_right_where_the_tile_is_black() -> None:
    check_output(flat(0), flat(0, 16), CARD)
    check_output(flat(2 / 255), flat(-0.01, 16), CARD)


@pytest.mark.parametrize("level", [0, 1, 4, 16, 24, 32, 255])
def test_no_flat_tile_of_any_darkness_is_taken_for_a_fault(level: int, animevideo: LoadedModel) -> None:
    network = animevideo.network_for(2)  # checks each answer by itself

    assert network(flat(level / 255, 32)).shape == (3, 64, 64)


def test_a_dark_photograph_is_not_taken_for_a_fault(coffee: Image.Image, animevideo: LoadedModel) -> None:
    pixels = np.asarray(coffee.crop((0, 0, 64, 64))).astype(np.float32).transpose(2, 0, 1) / 255

    for darkness in (1, 4, 16, 64):
        assert animevideo.network_for(2)(pixels / darkness).max() > -1
