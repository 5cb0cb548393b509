"""Fixtures: a photograph, and the engine's model, loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage
from PIL import Image

from workers.engine.inference.device import cpu_device
from workers.engine.inference.loaded_model import LoadedModel
from workers.engine.inference.models import ANIMEVIDEO, weights_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.fixture(scope="session")
def coffee() -> Image.Image:
    """Return a photograph: 600x400, RGB, with sharp edges and smooth slopes."""
    with Image.open(Path(skimage.__file__).parent / "data" / "coffee.png") as image:
        return image.convert("RGB")


@pytest.fixture(scope="session")
def crop(coffee: Image.Image) -> Image.Image:
    """Return a part of it, 48x40: the rim of the cup, large enough to compare and small enough for a test."""
    return coffee.crop((300, 60, 348, 100))


@pytest.fixture(scope="session")
def animevideo() -> LoadedModel:
    return LoadedModel(ANIMEVIDEO, cpu_device(), ANIMEVIDEO.precision, weights_folder())


@pytest.fixture
def image_file(crop: Image.Image, tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    crop.save(path)
    return path


def psnr(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Return the peak signal-to-noise ratio of 8-bit values in dB."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return float(10 * np.log10(255**2 / max(np.mean(difference**2), 1e-12)))


@pytest.fixture(name="psnr", scope="session")
def psnr_fixture() -> object:
    return psnr
