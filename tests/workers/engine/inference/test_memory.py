from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from own_models import write_own_model

from domain.sizing import Sizing
from workers.engine.errors import EngineUnusable
from workers.engine.inference.manifest import read_models
from workers.engine.inference.memory import tiles_within
from workers.engine.inference.models import ANIMEVIDEO, MODELS, X4PLUS, Precision
from workers.engine.options import EngineOptions
from workers.engine.protocol import EngineJob
from workers.engine_child import EngineChild

if TYPE_CHECKING:
    from PIL import Image

    from workers.engine.inference.models import Model


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_more_memory_never_shrinks_tiles(model: Model) -> None:
    chosen = [
        tiles_within(megabytes, model, model.precision, model.cpu_tile, 4)
        for megabytes in (1000, 2000, 4000, 8000)
    ]

    assert chosen == sorted(chosen)
    assert chosen[-1] == (model.cpu_tile, 4)


def test_tile_side_does_not_depend_on_threads() -> None:
    sides = {tiles_within(300, ANIMEVIDEO, Precision.FP32, 200, threads)[0] for threads in (1, 2, 4, 16)}

    assert len(sides) == 1
    assert sides < set(range(32, 200))


def test_minimum_memory_runs_one_small_tile() -> None:
    assert tiles_within(800, X4PLUS, Precision.FP32, 96, 4) == (32, 1)


def test_too_little_memory_error_names_the_need() -> None:
    with pytest.raises(
        EngineUnusable, match=r"200 MB of memory are too few for realesrgan-x4plus: it needs at least \d+"
    ):
        tiles_within(200, X4PLUS, Precision.BF16, 96, 4)


# Its memory has not been measured, and its tiles are computed whole.
def test_own_model_is_assumed_to_be_large(tmp_path: Path) -> None:
    write_own_model(tmp_path, "small", (2,))
    write_own_model(tmp_path, "three", (2, 3, 4))
    models = read_models(tmp_path)

    assert tiles_within(1000, models["small"], Precision.FP32, 200, 4) == (37, 2)
    assert tiles_within(1000, ANIMEVIDEO, Precision.FP32, 200, 2) == (200, 2)
    with pytest.raises(
        EngineUnusable, match=r"1000 MB of memory are too few for three: it needs at least 1\d\d\d"
    ):
        tiles_within(1000, models["three"], Precision.FP32, 200, 4)


def peak_of(child: EngineChild) -> int:
    """Return the peak memory of the child in bytes."""
    status = Path(f"/proc/{child.pid}/status").read_text("ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def peak_of_upscaling(options: EngineOptions, image: Image.Image, folder: Path) -> int:
    """Return the peak memory of a child that has upscaled the image to twice its size."""
    image.save(folder / "image.png")
    with EngineChild(options) as child:
        child.upscale(
            EngineJob(folder / "image.png", folder / "result.png", Sizing(2)),
            on_progress=lambda _done, _total: None,
            keep_going=lambda: True,
        )
        return peak_of(child)


on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="the peak of another process is known on Linux only"
)


@on_linux
@pytest.mark.slow
def test_engine_stays_within_memory_mb(coffee: Image.Image, tmp_path: Path) -> None:
    unbounded = peak_of_upscaling(EngineOptions("cpu", tile_threads=2), coffee, tmp_path)
    bounded = peak_of_upscaling(EngineOptions("cpu", tile_threads=2, memory_mb=250), coffee, tmp_path)

    assert bounded < 250 * 2**20 < unbounded


# The limit is for 1920x1080. Three rows of tiles have every possible shape, and ncnn keeps memory for each;
# the part of the image that is missing here is subtracted, and so is its result.
@on_linux
@pytest.mark.slow
def test_wide_image_needs_less_than_700_mb(coffee: Image.Image, tmp_path: Path) -> None:
    missing = 1920 * (1080 - 600) * 3 * (1 + 4)

    # Other processes delay threads, and delayed threads hold memory longer: the lowest of three peaks counts.
    wide = coffee.resize((1920, 600))
    peaks = [peak_of_upscaling(EngineOptions("cpu", tile_threads=2), wide, tmp_path) for _ in range(3)]

    assert min(peaks) < 700 * 10**6 - missing
