"""Run one network on one device: a tile in, a larger tile out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ncnn
import numpy as np

from workers.engine.answers import check_answer
from workers.engine.errors import DeviceFault, TileTooLarge, WeightsError
from workers.engine.models import Precision, check_weights

if TYPE_CHECKING:
    from pathlib import Path

    from workers.engine.arrays import Floats
    from workers.engine.device import Device
    from workers.engine.models import Network


class LoadedNetwork:
    """A network in the memory of a device; several threads may call it at once."""

    def __init__(self, network: Network, device: Device, precision: Precision, folder: Path) -> None:
        """Raises WeightsError unless the files are exactly the ones we know, DeviceFault when loading fails."""
        check_weights(network, folder)
        self.network = network
        self.device = device
        self._net = ncnn.Net()
        _set_options(self._net, device, precision)
        if self._net.load_param(str(folder / f"{network.stem}.param")) != 0:
            raise WeightsError(f"ncnn cannot load {network.stem}.param.")
        if self._net.load_model(str(folder / f"{network.stem}.bin")) != 0:
            raise DeviceFault(f"{network.stem}.bin could not be loaded on {device.id}.")

    def __call__(self, tile: Floats) -> Floats:
        """``(3, H, W)`` RGB 0–1 → ``(3, H × scale, W × scale)``, which may go a little below 0 and above 1.

        Raises TileTooLarge when the device fails, DeviceFault when its answer cannot be right.
        """
        # ncnn.Mat does not own an array's memory, and reads it as if it were contiguous float32: this
        # name keeps the array alive until the extraction is over.
        contiguous = np.ascontiguousarray(tile, dtype=np.float32)
        with self._net.create_extractor() as extractor:
            extractor.input(self.network.input_blob, ncnn.Mat(contiguous))
            status, output = extractor.extract(self.network.output_blob)
            # A copy, because the memory of the output goes with the extractor.
            larger = np.array(output, dtype=np.float32) if status == 0 else None
        _, height, width = contiguous.shape
        expected = (3, height * self.network.scale, width * self.network.scale)
        if larger is None or larger.shape != expected:
            raise TileTooLarge(f"{self.device.id} failed on a tile of {width}x{height} (status {status}).")
        check_answer(contiguous, larger, self.device)
        return larger


def _set_options(net: Any, device: Device, precision: Precision) -> None:
    """Settings must come before the files are loaded: they decide how weights are laid out."""
    options = net.opt
    # One thread for each tile: two tiles at once beat one tile on two threads, and the order of additions,
    # so every bit of the result, no longer depends on how many threads there are.
    options.num_threads = 1
    on_gpu = device.vulkan_index is not None
    options.use_vulkan_compute = on_gpu
    options.use_fp16_packed = on_gpu
    options.use_fp16_storage = on_gpu
    options.use_fp16_arithmetic = False  # some drivers overflow to black pictures with it
    options.use_bf16_storage = not on_gpu and precision is Precision.BF16
    if on_gpu:
        net.set_vulkan_device(device.vulkan_index)
