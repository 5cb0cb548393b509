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

CARD = Device("vulkan:0", "Some GPU", DeviceKind.DISCRETE_GPU, 0)


def flat(value: float, side: int = 8) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full((3, side, side), value, dtype=np.float32)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_non_finite_value_is_a_fault(value: float) -> None:
    output = flat(0.5, 16)
    output[1, 7, 3] = value

    with pytest.raises(DeviceFault, match="vulkan:0 returned values that are not numbers"):
        check_output(flat(0.5), output, CARD)


# Negative values are black as well, because a result is clipped.
@pytest.mark.parametrize("black", [0.0, -0.2])
def test_black_output_for_bright_tile_is_a_fault(black: float) -> None:
    with pytest.raises(DeviceFault, match="vulkan:0 returned black"):
        check_output(flat(0.2), flat(black, 16), CARD)


def test_black_output_for_black_tile_is_accepted() -> None:
    check_output(flat(0), flat(0, 16), CARD)
    check_output(flat(2 / 255), flat(-0.01, 16), CARD)


@pytest.mark.parametrize("level", [0, 1, 4, 16, 24, 32, 255])
def test_flat_tiles_of_any_level_are_accepted(level: int, animevideo: LoadedModel) -> None:
    network = animevideo.network_for(2)  # the network checks each result

    assert network(flat(level / 255, 32)).shape == (3, 64, 64)


def test_dark_photograph_is_accepted(coffee: Image.Image, animevideo: LoadedModel) -> None:
    pixels = np.asarray(coffee.crop((0, 0, 64, 64))).astype(np.float32).transpose(2, 0, 1) / 255

    for darkness in (1, 4, 16, 64):
        assert animevideo.network_for(2)(pixels / darkness).max() > -1
