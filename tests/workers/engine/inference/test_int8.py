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
from workers.engine.inference.int8 import calibration_pictures
from workers.engine.inference.models import ANIMEVIDEO, X4PLUS, X4PLUS_ANIME, Precision, weights_folder
from workers.engine.inference.network import LoadedNetwork
from workers.engine.inference.self_test import check_golden

if TYPE_CHECKING:
    from workers.engine.inference.models import Network

    Psnr = object

ANIME = X4PLUS_ANIME.network_for(4)
SHIPPED = Path(skimage.__file__).parent / "data"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def loaded(network: Network, precision: Precision, kept: Path | None = None) -> LoadedNetwork:
    return LoadedNetwork(network, cpu_device(), precision, weights_folder(), kept=kept)


def in_8_bits(kept: Path) -> LoadedNetwork:
    return loaded(ANIME, Precision.INT8, kept)


def photograph(name: str, left: int, top: int, side: int = 32) -> np.ndarray:
    with Image.open(SHIPPED / name) as image:
        part = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(part).transpose(2, 0, 1).astype(np.float32) / 255


def levels(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture, 0, 1) * 255


@pytest.mark.parametrize("model", [X4PLUS, X4PLUS_ANIME], ids=lambda model: model.name)
def test_8_bits_agree_with_32_on_photographs(model: object, kept: Path, psnr: Psnr) -> None:
    network = model.network_for(4)
    exact, quick = loaded(network, Precision.FP32), loaded(network, Precision.INT8, kept)

    assert check_golden(quick) > 42
    for name, left, top in (("coffee.png", 60, 270), ("astronaut.png", 310, 210), ("rocket.jpg", 260, 210)):
        picture = photograph(name, left, top)
        agreement = psnr(levels(quick(picture)), levels(exact(picture)))
        assert 42 < agreement < 60, name  # more would be floating point


# Otherwise what 8 bits cost would not be all that is lost.
def test_evening_out_the_channels_leaves_the_answer_as_it_was(kept: Path, tmp_path: Path) -> None:
    exact = loaded(ANIME, Precision.FP32)
    convolutions = int8._read(ANIME, weights_folder())
    before = [one.weights.copy() for one in convolutions]
    ranges = int8._ranges(
        [one for one in convolutions if one.in_8_bits],
        lambda pictures, names: (exact._extract({"data": picture}, names) for picture in pictures),
    )

    int8._even_out(convolutions, ranges)

    changed = [not np.array_equal(one.weights, old) for one, old in zip(convolutions, before, strict=True)]
    assert sum(changed) == 15 * 5  # all dense blocks but the last three
    for one in convolutions:
        one.in_8_bits = False
    (tmp_path / "even.bin").write_bytes(int8._packed(convolutions, ranges))
    evened = loaded(ANIME, Precision.FP32)
    evened._net.clear()
    evened._load((weights_folder() / f"{ANIME.stem}.param").read_text(), tmp_path / "even.bin")
    picture = photograph("coffee.png", 60, 270)
    assert np.abs(evened(picture) - exact(picture)).max() < 1e-3


def test_a_network_is_made_once_and_then_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = in_8_bits(tmp_path)
    monkeypatch.setattr(int8, "_converted", None)  # whoever called it would fail

    again = in_8_bits(tmp_path)

    picture = photograph("coffee.png", 60, 270, 16)
    np.testing.assert_array_equal(first(picture), again(picture))


@pytest.mark.parametrize("damage", ["flipped", "short", "empty"])
def test_a_damaged_file_is_made_again(damage: str, kept: Path) -> None:
    in_8_bits(kept)
    (path,) = kept.glob(f"{ANIME.stem}*")
    sound = path.read_bytes()
    flipped = bytearray(sound)
    flipped[5000] ^= 1
    path.write_bytes({"flipped": bytes(flipped), "short": sound[:-7], "empty": b""}[damage])

    in_8_bits(kept)

    assert path.read_bytes() == sound


def test_two_that_make_it_at_once_do_not_harm_each_other(kept: Path, tmp_path: Path) -> None:
    in_8_bits(kept)
    (expected,) = kept.glob(f"{ANIME.stem}*")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(in_8_bits, [tmp_path] * 2))

    (made,) = tmp_path.iterdir()
    assert made.name == expected.name
    assert made.read_bytes() == expected.read_bytes()


def test_without_a_folder_to_keep_it_in_it_works_all_the_same(kept: Path) -> None:
    picture = photograph("coffee.png", 60, 270, 16)

    np.testing.assert_array_equal(loaded(ANIME, Precision.INT8)(picture), in_8_bits(kept)(picture))


def test_a_network_without_8_bits_stays_in_floating_point(tmp_path: Path) -> None:
    network = ANIMEVIDEO.network_for(2)
    picture = photograph("coffee.png", 60, 270, 16)

    quick = loaded(network, Precision.INT8, tmp_path)

    np.testing.assert_array_equal(quick(picture), loaded(network, Precision.FP32)(picture))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    for name in ANIME.files:
        (tmp_path / name).write_bytes((weights_folder() / name).read_bytes())
    weights = bytearray((tmp_path / f"{ANIME.stem}.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / f"{ANIME.stem}.bin").write_bytes(weights)

    with pytest.raises(WeightsError, match="cannot be made 8 bits"):
        int8._read(ANIME, tmp_path)


# Ranges that differed from start to start would make files that differ.
def test_the_calibration_pictures_are_always_the_same_and_are_pictures() -> None:
    first, again = calibration_pictures(), calibration_pictures()

    assert [hashlib.sha256(picture.tobytes()).hexdigest() for picture in first] == [
        hashlib.sha256(picture.tobytes()).hexdigest() for picture in again
    ]
    for picture in first:
        assert picture.shape == (3, int8.PICTURE_SIDE, int8.PICTURE_SIDE)
        assert picture.dtype == np.float32
        assert 0 <= picture.min() < 0.1
        assert 0.7 < picture.max() <= 1
