from __future__ import annotations

import pytest

from workers.engine import report
from workers.engine.errors import DeviceFault
from workers.engine.inference.device import Device, DeviceKind, cpu_device
from workers.engine.options import EngineOptions
from workers.engine.report import describe

GOOD = Device("vulkan:0", "Good card", DeviceKind.DISCRETE_GPU, 0)
BROKEN = Device("vulkan:1", "Broken card", DeviceKind.DISCRETE_GPU, 1)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> object:
    """Return a function that simulates a machine with GPUs, of which BROKEN fails; the networks run on the
    CPU.
    """
    load = report.LoadedNetwork

    def loaded(
        network: object, device: Device, precision: object, folder: object, **options: object
    ) -> object:
        if device == BROKEN:
            raise DeviceFault("Broken card fails its self-test")
        return load(network, cpu_device(), precision, folder)

    def with_cards(*cards: Device) -> None:
        monkeypatch.setattr(report, "LoadedNetwork", loaded)
        monkeypatch.setattr(report, "list_devices", lambda: [cpu_device(), *cards])
        monkeypatch.setattr(
            report,
            "choose_devices",
            lambda setting: (
                [card for card in cards if setting == "auto" or card.id in setting.split(",")]
                or [cpu_device()]
            ),
        )

    return with_cards


def used(options: EngineOptions) -> list[str]:
    return [device.id for device in describe(options).devices if device.used]


def test_failing_gpu_is_not_used(machine: object) -> None:
    machine(GOOD, BROKEN)

    assert used(EngineOptions()) == ["vulkan:0"]
    assert describe(EngineOptions()).problems == ("Broken card fails its self-test",)


def test_cpu_is_used_when_every_gpu_fails(machine: object) -> None:
    machine(BROKEN)

    found = describe(EngineOptions())

    assert [device.id for device in found.devices if device.used] == ["cpu"]
    assert found.choice.startswith("cpu (there is no hardware GPU that works) with realesr-animevideov3")


def test_failing_named_gpu_yields_to_another_named_one(machine: object) -> None:
    machine(GOOD, BROKEN)

    assert used(EngineOptions("vulkan:1,vulkan:0")) == ["vulkan:0"]


def test_only_named_gpu_is_used_although_it_fails(machine: object) -> None:
    machine(BROKEN)

    assert used(EngineOptions("vulkan:1")) == ["vulkan:1"]
