from __future__ import annotations

import numpy as np
import pytest

from workers.engine.errors import UnknownDevice
from workers.engine.inference import device as devices
from workers.engine.inference.device import Device, DeviceKind, choose_devices, cpu_device, list_devices
from workers.engine.inference.models import ANIMEVIDEO, Precision, weights_folder
from workers.engine.inference.network import LoadedNetwork
from workers.engine.inference.self_test import check_agreement

CARD = Device("vulkan:0", "Some card", DeviceKind.DISCRETE_GPU, 0)
SOFTWARE = Device("vulkan:1", "llvmpipe", DeviceKind.SOFTWARE, 1)
CHIP = Device("vulkan:2", "Some chip", DeviceKind.INTEGRATED_GPU, 2)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> object:
    def with_devices(*there: Device) -> None:
        monkeypatch.setattr(devices, "list_devices", lambda: [cpu_device(), *there])

    return with_devices


def test_cpu_is_listed_first_with_a_name() -> None:
    first = list_devices()[0]

    assert first.id == "cpu"
    assert first.name


def test_listing_devices_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    list_devices()

    assert capfd.readouterr() == ("", "")


def test_auto_chooses_every_gpu_and_no_software(machine: object) -> None:
    machine(CARD, SOFTWARE, CHIP)

    assert choose_devices("auto") == [CARD, CHIP]


def test_auto_without_gpu_chooses_the_cpu(machine: object) -> None:
    machine(SOFTWARE)

    assert choose_devices("auto") == [cpu_device()]


def test_software_device_can_be_named(machine: object) -> None:
    machine(CARD, SOFTWARE)

    assert choose_devices("vulkan:1") == [SOFTWARE]


def test_devices_keep_the_order_of_the_setting(machine: object) -> None:
    machine(CARD, SOFTWARE, CHIP)

    assert choose_devices("vulkan:2,cpu,vulkan:0") == [CHIP, cpu_device(), CARD]


def test_unknown_device_in_list_is_named(machine: object) -> None:
    machine(CARD)

    with pytest.raises(
        UnknownDevice, match=r"no device 'vulkan:3'\. Use auto or a device of this machine: cpu, vulkan:0"
    ):
        choose_devices("vulkan:0,vulkan:3")


def test_unknown_device_error_lists_devices(machine: object) -> None:
    machine(CARD)

    with pytest.raises(UnknownDevice, match="cpu, vulkan:0"):
        choose_devices("vulkan:7")


def test_cpu_setting_does_not_load_vulkan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "list_devices", lambda: pytest.fail("Vulkan was touched"))

    assert choose_devices("cpu") == [cpu_device()]


@pytest.mark.vulkan
def test_vulkan_devices_agree_with_the_cpu(crop: object) -> None:
    found = [device for device in list_devices() if device.vulkan_index is not None]
    if not found:
        pytest.skip("no Vulkan device on this machine, not even a software one (Debian: mesa-vulkan-drivers)")
    network = ANIMEVIDEO.network_for(2)
    tile = np.asarray(crop).transpose(2, 0, 1).astype(np.float32) / 255
    expected = LoadedNetwork(network, cpu_device(), Precision.FP32, weights_folder())(tile)

    for device in found:
        loaded = LoadedNetwork(network, device, Precision.FP32, weights_folder())
        check_agreement(loaded)
        assert -10 * np.log10(np.mean((loaded(tile) - expected) ** 2)) > 45
