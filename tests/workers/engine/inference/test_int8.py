from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage
from PIL import Image

from workers.engine.errors import WeightsError
from workers.engine.inference import int8
from workers.engine.inference.device import cpu_device
from workers.engine.inference.int8 import calibration_images
from workers.engine.inference.models import ANIMEVIDEO, X4PLUS, X4PLUS_ANIME, Precision, weights_folder
from workers.engine.inference.network import LoadedNetwork
from workers.engine.inference.self_test import check_agreement

if TYPE_CHECKING:
    from workers.engine.inference.models import Network

    Psnr = object

ANIME = X4PLUS_ANIME.network_for(4)
SHIPPED = Path(skimage.__file__).parent / "data"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def loaded(network: Network, precision: Precision, cache: Path | None = None) -> LoadedNetwork:
    return LoadedNetwork(network, cpu_device(), precision, weights_folder(), cache=cache)


def quantized(cache: Path) -> LoadedNetwork:
    return loaded(ANIME, Precision.INT8, cache)


def photograph(name: str, left: int, top: int, side: int = 32) -> np.ndarray:
    with Image.open(SHIPPED / name) as image:
        part = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(part).transpose(2, 0, 1).astype(np.float32) / 255


def levels(tile: np.ndarray) -> np.ndarray:
    return np.clip(tile, 0, 1) * 255


@pytest.mark.parametrize("model", [X4PLUS, X4PLUS_ANIME], ids=lambda model: model.name)
@pytest.mark.slow
def test_int8_agrees_with_fp32_on_photographs(model: object, cache: Path, psnr: Psnr) -> None:
    network = model.network_for(4)
    exact, quick = loaded(network, Precision.FP32), loaded(network, Precision.INT8, cache)

    assert check_agreement(quick) > 42
    for name, left, top in (("coffee.png", 60, 270), ("astronaut.png", 310, 210), ("rocket.jpg", 260, 210)):
        tile = photograph(name, left, top)
        agreement = psnr(levels(quick(tile)), levels(exact(tile)))
        assert 42 < agreement < 60, name  # a higher value would mean floating point


# The rounding to 8 bits must be the only loss.
def test_equalization_preserves_the_output(cache: Path, tmp_path: Path) -> None:
    exact = loaded(ANIME, Precision.FP32)
    convolutions = int8._read(ANIME, weights_folder())
    before = [convolution.weights.copy() for convolution in convolutions]
    ranges = int8._ranges(
        [convolution for convolution in convolutions if convolution.is_quantized],
        lambda images, names: (exact._extract({"data": tile}, names) for tile in images),
    )

    int8._equalize(convolutions, ranges)

    changed = [
        not np.array_equal(convolution.weights, old)
        for convolution, old in zip(convolutions, before, strict=True)
    ]
    assert sum(changed) == 15 * 5  # all dense blocks but the last three
    for convolution in convolutions:
        convolution.is_quantized = False
    (tmp_path / "equalized.bin").write_bytes(int8._pack(convolutions, ranges))
    equalized = loaded(ANIME, Precision.FP32)
    equalized._net.clear()
    equalized._load((weights_folder() / f"{ANIME.stem}.param").read_text(), tmp_path / "equalized.bin")
    tile = photograph("coffee.png", 60, 270)
    assert np.abs(equalized(tile) - exact(tile)).max() < 1e-3


def test_converted_network_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = quantized(tmp_path)
    monkeypatch.setattr(int8, "_convert", None)  # a call of it would fail

    again = quantized(tmp_path)

    tile = photograph("coffee.png", 60, 270, 16)
    np.testing.assert_array_equal(first(tile), again(tile))


@pytest.mark.parametrize("damage", ["flipped", "short", "empty"])
def test_damaged_cache_file_is_rebuilt(damage: str, cache: Path) -> None:
    quantized(cache)
    (path,) = cache.glob(f"{ANIME.stem}*")
    intact = path.read_bytes()
    flipped = bytearray(intact)
    flipped[5000] ^= 1
    path.write_bytes({"flipped": bytes(flipped), "short": intact[:-7], "empty": b""}[damage])

    quantized(cache)

    assert path.read_bytes() == intact


def test_concurrent_conversions_write_one_file(cache: Path, tmp_path: Path) -> None:
    quantized(cache)
    (expected,) = cache.glob(f"{ANIME.stem}*")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(quantized, [tmp_path] * 2))

    (made,) = tmp_path.iterdir()
    assert made.name == expected.name
    assert made.read_bytes() == expected.read_bytes()


def test_int8_works_without_a_cache(cache: Path) -> None:
    tile = photograph("coffee.png", 60, 270, 16)

    np.testing.assert_array_equal(loaded(ANIME, Precision.INT8)(tile), quantized(cache)(tile))


def test_network_without_int8_stays_in_floating_point(tmp_path: Path) -> None:
    network = ANIMEVIDEO.network_for(2)
    tile = photograph("coffee.png", 60, 270, 16)

    quick = loaded(network, Precision.INT8, tmp_path)

    np.testing.assert_array_equal(quick(tile), loaded(network, Precision.FP32)(tile))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_format_are_rejected(tmp_path: Path) -> None:
    for name in ANIME.files:
        (tmp_path / name).write_bytes((weights_folder() / name).read_bytes())
    weights = bytearray((tmp_path / f"{ANIME.stem}.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / f"{ANIME.stem}.bin").write_bytes(weights)

    with pytest.raises(WeightsError, match="cannot be converted to 8 bits"):
        int8._read(ANIME, tmp_path)


# Different ranges would produce different files.
def test_calibration_images_are_deterministic() -> None:
    first, again = calibration_images(), calibration_images()

    assert [hashlib.sha256(tile.tobytes()).hexdigest() for tile in first] == [
        hashlib.sha256(tile.tobytes()).hexdigest() for tile in again
    ]
    for tile in first:
        assert tile.shape == (3, int8.IMAGE_SIDE, int8.IMAGE_SIDE)
        assert tile.dtype == np.float32
        assert 0 <= tile.min() < 0.1
        assert 0.7 < tile.max() <= 1
