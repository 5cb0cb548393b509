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


def test_the_cpu_is_always_there_and_has_a_name() -> None:
    first = list_devices()[0]

    assert first.id == "cpu"
    assert first.name


def test_looking_for_vulkan_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    list_devices()

    assert capfd.readouterr() == ("", "")


def test_auto_takes_every_gpu_and_no_software(machine: object) -> None:
    machine(CARD, SOFTWARE, CHIP)

    assert choose_devices("auto") == [CARD, CHIP]


def test_without_a_gpu_auto_takes_the_cpu(machine: object) -> None:
    machine(SOFTWARE)

    assert choose_devices("auto") == [cpu_device()]


def test_a_software_device_is_used_when_asked_for(machine: object) -> None:
    machine(CARD, SOFTWARE)

    assert choose_devices("vulkan:1") == [SOFTWARE]


def test_several_devices_are_used_in_the_order_in_which_they_are_named(machine: object) -> None:
    machine(CARD, SOFTWARE, CHIP)

    assert choose_devices("vulkan:2,cpu,vulkan:0") == [CHIP, cpu_device(), CARD]


def test_one_unknown_device_among_several_is_refused_by_name(machine: object) -> None:
    machine(CARD)

    with pytest.raises(UnknownDevice, match="no device 'vulkan:3'; this machine has cpu, vulkan:0"):
        choose_devices("vulkan:0,vulkan:3")


def test_an_unknown_device_is_refused_with_those_that_exist(machine: object) -> None:
    machine(CARD)

    with pytest.raises(UnknownDevice, match="cpu, vulkan:0"):
        choose_devices("vulkan:7")


def test_asking_for_the_cpu_leaves_vulkan_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "list_devices", lambda: pytest.fail("Vulkan was touched"))

    assert choose_devices("cpu") == [cpu_device()]


@pytest.mark.vulkan
def test_every_vulkan_device_passes_its_self_test_and_agrees_with_the_cpu(crop: object) -> None:
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
