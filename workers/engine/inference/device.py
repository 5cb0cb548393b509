"""The devices of this machine that can run a network: the CPU, and every Vulkan device that ncnn finds.

Listing the Vulkan devices loads drivers, which may print or crash: do it only in the engine's child process.
"""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import ncnn

from workers.engine.errors import UnknownDevice
from workers.engine.options import AUTO, CPU

if TYPE_CHECKING:
    from collections.abc import Iterator

VULKAN_PREFIX = "vulkan:"


class DeviceKind(StrEnum):
    """The kinds of ``VkPhysicalDeviceType`` in ncnn's numbering, and the CPU without Vulkan."""

    DISCRETE_GPU = "discrete GPU"
    INTEGRATED_GPU = "integrated GPU"
    VIRTUAL_GPU = "virtual GPU"
    SOFTWARE = "software Vulkan"
    CPU = "CPU"


@dataclass(frozen=True)
class Device:
    """A device; ``id`` is the value of the setting (``cpu``, ``vulkan:0``), ``name`` is the vendor's name."""

    id: str
    name: str
    kind: DeviceKind
    vulkan_index: int | None = None

    @property
    def is_hardware_gpu(self) -> bool:
        return self.kind not in {DeviceKind.CPU, DeviceKind.SOFTWARE}


def cpu_device() -> Device:
    """Return the CPU as a device, with its name; it is always there."""
    return Device(CPU, _cpu_name(), DeviceKind.CPU)


def list_devices() -> list[Device]:
    """Return the CPU, then the Vulkan devices by number. Create the Vulkan instance of this process."""
    with _native_output_hidden():
        count = ncnn.get_gpu_count()
    return [cpu_device(), *(_vulkan_device(index) for index in range(count))]


def choose_devices(setting: str) -> list[Device]:
    """Return the devices to use, best first: the named ones; for ``auto`` every GPU, without a GPU the CPU.

    ``auto`` never chooses a software Vulkan device, which is many times slower than the CPU. ``cpu`` does not
    load Vulkan. Raise UnknownDevice.
    """
    if setting == CPU:
        return [cpu_device()]
    devices = list_devices()
    if setting == AUTO:
        return [device for device in devices if device.is_hardware_gpu] or [cpu_device()]
    by_id = {device.id: device for device in devices}
    names = setting.split(",")
    for name in names:
        if name not in by_id:
            raise UnknownDevice(
                f"There is no device {name!r}. Use {AUTO} or a device of this machine: {', '.join(by_id)}."
            )
    return [by_id[name] for name in names]


def _vulkan_device(index: int) -> Device:
    """Return the Vulkan device at this index, as ncnn describes it."""
    info = ncnn.get_gpu_info(index)
    kind = tuple(DeviceKind)[info.type()]
    return Device(f"{VULKAN_PREFIX}{index}", info.device_name(), kind, index)


def _cpu_name() -> str:
    """Return the model name of the first CPU; where Linux does not give one, what ``platform`` knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


@contextmanager
def _native_output_hidden() -> Iterator[None]:
    """Hide native output in the block: without a Vulkan loader ncnn prints harmless "dlopen failed" lines."""
    saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in saved:
            os.dup2(null, descriptor)
        yield
    finally:
        for descriptor, original in saved.items():
            os.dup2(original, descriptor)
            os.close(original)
        os.close(null)
