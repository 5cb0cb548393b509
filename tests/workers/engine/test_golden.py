from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from own_models import sha256, write_own_model

from workers.engine import golden
from workers.engine.device import list_devices
from workers.engine.errors import ManifestError, NoSoundDevice
from workers.engine.protocol import EngineOptions
from workers.engine.start import start_engine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("there", "instead"),
    [("scale = 2", "scale = 3"), ('"data"', '"in0"'), ('"output"', '"out0"')],
    ids=["scale", "input", "output"],
)
def test_an_operators_model_that_is_not_what_its_manifest_says_is_refused_at_the_start(
    there: str, instead: str, tmp_path: Path
) -> None:
    path = write_own_model(tmp_path)
    path.write_text(path.read_text().replace(there, instead))

    with pytest.raises(
        ManifestError, match=r"The network mine-x2 does not work as its manifest says, . times"
    ):
        start_engine(EngineOptions("cpu", "mine", models=tmp_path))


def test_an_operators_model_whose_files_do_not_belong_together_is_refused_at_the_start(
    tmp_path: Path,
) -> None:
    path = write_own_model(tmp_path)
    weights = tmp_path / "mine-x2.bin"
    known = sha256(weights)
    weights.write_bytes(weights.read_bytes()[:1000])
    path.write_text(path.read_text().replace(known, sha256(weights)))

    with pytest.raises(ManifestError, match="mine-x2"):
        start_engine(EngineOptions("cpu", "mine", models=tmp_path))


# ncnn has binary ones, too, which other programs load.
def test_an_operators_network_that_is_not_described_in_text_is_refused_at_the_start(tmp_path: Path) -> None:
    path = write_own_model(tmp_path)
    param = tmp_path / "mine-x2.param"
    known = sha256(param)
    param.write_bytes(b"\xdd\x85\x76\x00")
    path.write_text(path.read_text().replace(known, sha256(param)))

    with pytest.raises(ManifestError, match="The network mine-x2 does not work as its manifest says"):
        start_engine(EngineOptions("cpu", "mine", models=tmp_path))


def of_one_convolution(folder: Path, channels: int) -> Path:
    """The folder, with a model whose network is one convolution that reads so many channels."""
    path = write_own_model(folder)
    weights = np.random.default_rng(1).random(12 * 9 * channels, dtype=np.float32)
    contents = {
        folder / "mine-x2.param": f"""7767517
3 3
Input data 0 1 data
Convolution only 1 1 data twelve 0=12 1=3 4=1 5=0 6={len(weights)}
PixelShuffle output 1 1 twelve output 0=2

""".encode(),
        folder / "mine-x2.bin": bytes(4) + weights.tobytes(),
    }
    for file, content in contents.items():
        known = sha256(file)
        file.write_bytes(content)
        path.write_text(path.read_text().replace(known, sha256(file)))
    return folder


def test_an_operators_network_must_take_three_channels(tmp_path: Path) -> None:
    assert start_engine(EngineOptions("cpu", "mine", models=of_one_convolution(tmp_path / "3", 3)))

    for channels in (1, 4):
        folder = of_one_convolution(tmp_path / str(channels), channels)
        with pytest.raises(ManifestError, match="The network mine-x2 takes no pictures of three channels"):
            start_engine(EngineOptions("cpu", "mine", models=folder))


GRAY = """7767517
4 4
Input data 0 1 data
Interp larger 1 1 data larger 0=1 1=2.0 2=2.0
BinaryOp black 1 1 larger black 0=2 1=1 2=0.0
BinaryOp gray 1 1 black output 0=0 1=1 2=0.5
"""


def test_an_operators_model_that_makes_one_colour_of_every_picture_is_refused(tmp_path: Path) -> None:
    path = write_own_model(tmp_path)
    param = tmp_path / "mine-x2.param"
    known = sha256(param)
    param.write_text(GRAY)
    path.write_text(path.read_text().replace(known, sha256(param)))

    with pytest.raises(ManifestError, match="The network mine-x2 makes one colour of every picture"):
        start_engine(EngineOptions("cpu", "mine", models=tmp_path))


def test_every_network_of_an_operators_model_is_tried_at_the_start(tmp_path: Path) -> None:
    path = write_own_model(tmp_path, scales=(2, 4))
    text = path.read_text()
    last = text.rindex('"output"')
    path.write_text(text[:last] + '"out0"' + text[last + len('"output"') :])

    with pytest.raises(ManifestError, match="The network mine-x4 does not work"):
        start_engine(EngineOptions("cpu", "mine", models=tmp_path))


@pytest.mark.vulkan
def test_an_operators_model_must_give_on_a_gpu_what_it_gives_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [device.id for device in list_devices() if device.vulkan_index is not None]
    if not found:
        pytest.skip("no Vulkan device on this machine, not even a software one (Debian: mesa-vulkan-drivers)")

    write_own_model(tmp_path)

    assert start_engine(EngineOptions(found[0], "mine", models=tmp_path)).model.device.id == found[0]

    monkeypatch.setattr(golden, "MIN_AGREEMENT_DB", golden.IDENTICAL_DB + 1)
    with pytest.raises(NoSoundDevice, match=f"{found[0]} .* fails its self-test with mine-x2"):
        start_engine(EngineOptions(found[0], "mine", models=tmp_path))
