from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from own_models import sha256, write_own_model

from workers.engine.errors import ManifestError, NoUsableDevice
from workers.engine.inference import self_test
from workers.engine.inference.device import list_devices
from workers.engine.options import EngineOptions
from workers.engine.start import start_engine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("old", "new"),
    [("scale = 2", "scale = 3"), ('"data"', '"in0"'), ('"output"', '"out0"')],
    ids=["scale", "input", "output"],
)
def test_model_that_contradicts_manifest_fails_start(old: str, new: str, tmp_path: Path) -> None:
    path = write_own_model(tmp_path)
    path.write_text(path.read_text().replace(old, new))

    with pytest.raises(ManifestError, match=r"The network mine-x2 does not match its manifest \(scale .,"):
        start_engine(EngineOptions("cpu", "mine", models=tmp_path))


def test_mismatched_model_files_fail_start(
    tmp_path: Path,
) -> None:
    path = write_own_model(tmp_path)
    weights = tmp_path / "mine-x2.bin"
    known = sha256(weights)
    weights.write_bytes(weights.read_bytes()[:1000])
    path.write_text(path.read_text().replace(known, sha256(weights)))

    with pytest.raises(ManifestError, match="mine-x2"):
        start_engine(EngineOptions("cpu", "mine", models=tmp_path))


# ncnn also has binary .param files, which other programs load.
def test_binary_param_file_fails_start(tmp_path: Path) -> None:
    path = write_own_model(tmp_path)
    param = tmp_path / "mine-x2.param"
    known = sha256(param)
    param.write_bytes(b"\xdd\x85\x76\x00")
    path.write_text(path.read_text().replace(known, sha256(param)))

    with pytest.raises(ManifestError, match="The network mine-x2 does not match its manifest"):
        start_engine(EngineOptions("cpu", "mine", models=tmp_path))


def model_of_layers(folder: Path, layers: str, weights: bytes = b"") -> Path:
    """Write a model whose network has these layers, from blob a to blob b, and return its folder."""
    path = write_own_model(folder)
    lines = f"Input in 0 1 a\n{layers.strip()}\n"
    contents = {
        folder / "mine-x2.param": f"7767517\n{lines.count(chr(10))} 9\n{lines}".encode(),
        folder / "mine-x2.bin": weights,
    }
    manifest = path.read_text().replace('"data"', '"a"').replace('"output"', '"b"')
    for file, content in contents.items():
        known = sha256(file)
        file.write_bytes(content)
        manifest = manifest.replace(known, sha256(file))
    path.write_text(manifest)
    return folder


def model_of_one_convolution(folder: Path, channels: int) -> Path:
    """Write a model whose network is one convolution with so many input channels, and return its folder."""
    weights = np.random.default_rng(1).random(12 * 9 * channels, dtype=np.float32)
    layers = (
        f"Convolution only 1 1 a twelve 0=12 1=3 4=1 5=0 6={len(weights)}\nPixelShuffle last 1 1 twelve b 0=2"
    )
    return model_of_layers(folder, layers, bytes(4) + weights.tobytes())


def test_own_network_must_accept_three_channels(tmp_path: Path) -> None:
    assert start_engine(EngineOptions("cpu", "mine", models=model_of_one_convolution(tmp_path / "3", 3)))

    for channels in (1, 4):
        folder = model_of_one_convolution(tmp_path / str(channels), channels)
        with pytest.raises(
            ManifestError, match="The network mine-x2 does not accept images with three channels"
        ):
            start_engine(EngineOptions("cpu", "mine", models=folder))


GRAY = """
Interp larger 1 1 a larger 0=1 1=2.0 2=2.0
BinaryOp black 1 1 larger black 0=2 1=1 2=0.0
BinaryOp gray 1 1 black b 0=0 1=1 2=0.5
"""
ONLY_EVEN_SIDES = """
Reorg smaller 1 1 a smaller 0=2
PixelShuffle same 1 1 smaller same 0=2
Interp larger 1 1 same b 0=1 1=2.0 2=2.0
"""
FOUR_CHANNELS_LATER = """
BinaryOp normal 1 1 a normal 0=2 1=1 2=2.0
Convolution only 1 1 normal twelve 0=12 1=3 4=1 5=0 6=432
PixelShuffle output 1 1 twelve b 0=2
"""


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (GRAY, "returns a single colour for every image"),
        (
            ONLY_EVEN_SIDES,
            "does not match its manifest",
        ),  # at the edge of an image a tile has any size
        (FOUR_CHANNELS_LATER, "does not accept images with three channels"),
    ],
    ids=["one colour", "only even sides", "four channels, behind another layer"],
)
def test_unsuitable_network_fails_start(layers: str, message: str, tmp_path: Path) -> None:
    folder = model_of_layers(tmp_path, layers, bytes(4 + 4 * 432) if "Convolution" in layers else b"")

    with pytest.raises(ManifestError, match=f"The network mine-x2 {message}"):
        start_engine(EngineOptions("cpu", "mine", models=folder))


def test_every_network_of_own_model_is_tested_at_start(tmp_path: Path) -> None:
    path = write_own_model(tmp_path, scales=(2, 4))
    text = path.read_text()
    last = text.rindex('"output"')
    path.write_text(text[:last] + '"out0"' + text[last + len('"output"') :])

    with pytest.raises(ManifestError, match="The network mine-x4 does not match its manifest"):
        start_engine(EngineOptions("cpu", "mine", models=tmp_path))


@pytest.mark.vulkan
def test_own_model_on_gpu_must_agree_with_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [device.id for device in list_devices() if device.vulkan_index is not None]
    if not found:
        pytest.skip("no Vulkan device on this machine, not even a software one (Debian: mesa-vulkan-drivers)")

    write_own_model(tmp_path)

    assert start_engine(EngineOptions(found[0], "mine", models=tmp_path)).loaded.device.id == found[0]

    monkeypatch.setattr(self_test, "MIN_AGREEMENT_DB", self_test.IDENTICAL_DB + 1)
    with pytest.raises(NoUsableDevice, match=f"{found[0]} .* fails its self-test with mine-x2"):
        start_engine(EngineOptions(found[0], "mine", models=tmp_path))
