from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from workers.engine.errors import UnknownModel, WeightsError
from workers.engine.inference.device import Device, DeviceKind, cpu_device
from workers.engine.inference.loaded_model import LoadedModel
from workers.engine.inference.models import (
    ANIMEVIDEO,
    MODELS,
    X4PLUS,
    Precision,
    check_weights,
    choose_model,
    weights_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

GPU = Device("vulkan:0", "Some card", DeviceKind.DISCRETE_GPU, 0)
SOFTWARE = Device("vulkan:0", "llvmpipe", DeviceKind.SOFTWARE, 0)


def test_model_names_are_those_of_real_esrgan() -> None:
    assert list(MODELS) == ["realesr-animevideov3", "realesrgan-x4plus", "realesrgan-x4plus-anime"]


@pytest.mark.parametrize("network", [network for model in MODELS.values() for network in model.networks])
def test_installed_weights_have_known_checksums(network: object) -> None:
    check_weights(network, weights_folder())


@pytest.mark.parametrize(
    ("device", "model"), [(cpu_device(), ANIMEVIDEO), (SOFTWARE, ANIMEVIDEO), (GPU, X4PLUS)]
)
def test_auto_model_depends_on_the_device(device: Device, model: object) -> None:
    assert choose_model("auto", device) is model


def test_model_can_be_named_on_any_device() -> None:
    assert choose_model("realesrgan-x4plus", cpu_device()) is X4PLUS


def test_unknown_model_error_lists_models() -> None:
    with pytest.raises(UnknownModel, match="realesrgan-x4plus-anime"):
        choose_model("waifu2x", cpu_device())


@pytest.mark.parametrize(
    ("factor", "scale"), [(1.2, 2), (2, 2), (2.35, 3), (3, 3), (3.01, 4), (4, 4), (4.2, 4)]
)
def test_smallest_sufficient_network_is_chosen(factor: float, scale: int) -> None:
    assert ANIMEVIDEO.network_for(factor).scale == scale
    assert X4PLUS.network_for(factor).scale == 4


@pytest.mark.parametrize("suffix", ["param", "bin"])
def test_damaged_weights_error_names_the_file(suffix: str, tmp_path: Path) -> None:
    network = ANIMEVIDEO.network_for(2)
    for name in network.files:
        shutil.copy(weights_folder() / name, tmp_path)
    damaged = tmp_path / f"{network.stem}.{suffix}"
    content = bytearray(damaged.read_bytes())
    content[1000] ^= 1
    damaged.write_bytes(content)

    with pytest.raises(WeightsError, match=damaged.name):
        LoadedModel(ANIMEVIDEO, cpu_device(), Precision.FP32, tmp_path).network_for(2)


def test_missing_weights_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"REALESRGAN_X4PLUS_UP4X\.param"):
        check_weights(X4PLUS.network_for(4), tmp_path)
