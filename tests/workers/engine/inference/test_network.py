from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from workers.engine.errors import DeviceFault
from workers.engine.inference import self_test
from workers.engine.inference.device import cpu_device
from workers.engine.inference.loaded_model import LoadedModel
from workers.engine.inference.models import ANIMEVIDEO, MODELS, X4PLUS_ANIME, Model, weights_folder
from workers.engine.inference.network import LoadedNetwork
from workers.engine.inference.self_test import check_agreement, reference_image
from workers.engine.inference.tiles import join_tiles, plan_tiles

if TYPE_CHECKING:
    from PIL import Image


def planar(image: Image.Image | np.ndarray) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_every_network_passes_the_self_test_on_cpu(model: Model) -> None:
    for network in model.networks:
        assert check_agreement(LoadedNetwork(network, cpu_device(), model.precision, weights_folder())) > 45


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_single_colour_output_fails_the_self_test(value: float) -> None:
    def broken(tile: np.ndarray) -> np.ndarray:
        return np.full((3, tile.shape[1] * 2, tile.shape[2] * 2), value, np.float32)

    broken.network = ANIMEVIDEO.network_for(2)
    broken.device = cpu_device()

    with pytest.raises(DeviceFault, match="fails its self-test"):
        check_agreement(broken)


def test_nan_output_is_a_device_fault(monkeypatch: pytest.MonkeyPatch, animevideo: LoadedModel) -> None:
    image = reference_image()
    image[0, 3, 3] = np.nan

    with pytest.raises(DeviceFault, match="not numbers"):
        animevideo.network_for(2)(image)


def test_network_is_loaded_and_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr("workers.engine.inference.loaded_model.check_agreement", checked.append)
    model = LoadedModel(ANIMEVIDEO, cpu_device(), ANIMEVIDEO.precision, weights_folder())

    assert model.network_for(2) is model.network_for(1.5)
    assert model.network_for(2) is not model.network_for(3)
    assert [loaded.network.scale for loaded in checked] == [2, 3]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (13, 1), (5, 3)])
def test_smallest_tiles_are_enlarged(shape: tuple[int, int], animevideo: LoadedModel) -> None:
    for factor in (2, 3, 4):
        assert animevideo.network_for(factor)(np.full((3, *shape), 0.5, np.float32)).shape == (
            3,
            shape[0] * factor,
            shape[1] * factor,
        )


def test_non_contiguous_input_equals_its_copy(crop: Image.Image, animevideo: LoadedModel) -> None:
    pixels = np.asarray(crop).astype(np.float32) / 255
    network = animevideo.network_for(2)

    view = network(pixels.transpose(2, 0, 1))

    np.testing.assert_array_equal(view, network(pixels.transpose(2, 0, 1).copy()))


def test_parallel_calls_return_identical_bits(crop: Image.Image, animevideo: LoadedModel) -> None:
    network = animevideo.network_for(2)
    tile = planar(crop)
    alone = network(tile)

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(network, [tile] * 6))

    assert all(np.array_equal(alone, one) for one in together)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_animevideo_tiles_join_to_the_untiled_image(
    coffee: Image.Image, factor: int, animevideo: LoadedModel
) -> None:
    crop_image = coffee.crop((280, 40, 390, 140))
    network = animevideo.network_for(factor)
    pixels = np.asarray(crop_image)
    plan = plan_tiles(*crop_image.size, tile=50, pad=ANIMEVIDEO.pad, feather=ANIMEVIDEO.feather)
    outputs = (network(planar(tile.cut(pixels))) for tile in plan.tiles)

    tiled = np.concatenate(list(join_tiles(plan, outputs, factor)), axis=1)

    # In levels of 8 bits; 1 is the smallest visible difference. The pad is exact except for rounding.
    assert np.abs(tiled - network(planar(crop_image))).max() * 255 < 0.05


def test_x4plus_anime_tiles_join_without_visible_seam(coffee: Image.Image) -> None:
    crop_image = coffee.crop((300, 50, 396, 82))
    network = LoadedModel(X4PLUS_ANIME, cpu_device(), X4PLUS_ANIME.precision, weights_folder()).network_for(4)
    pixels = np.asarray(crop_image)
    plan = plan_tiles(*crop_image.size, tile=48, pad=X4PLUS_ANIME.pad, feather=X4PLUS_ANIME.feather)
    outputs = (network(planar(tile.cut(pixels))) for tile in plan.tiles)

    tiled = np.concatenate(list(join_tiles(plan, outputs, 4)), axis=1)

    untiled = network(planar(crop_image))
    assert np.abs(tiled - untiled).max() * 255 < 6
    border = slice(48 * 4 - 40, 48 * 4 + 40)
    steps = np.abs(np.diff(tiled[..., border]) - np.diff(untiled[..., border]))
    assert steps.max() * 255 < 6


def test_every_network_has_expected_samples() -> None:
    stems = {network.stem for model in MODELS.values() for network in model.networks}

    assert set(self_test._EXPECTED) == stems
