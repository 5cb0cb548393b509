"""Run one network on one device: a tile in, a larger tile out.

On the CPU, x4plus and x4plus-anime run in stages and can run in 8 bits; animevideov3, the default there, does neither.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import ncnn
import numpy as np

from workers.engine.errors import DeviceFault, TileTooLarge, WeightsError
from workers.engine.inference.int8 import int8_network
from workers.engine.inference.models import Precision, check_weights
from workers.engine.inference.output_check import check_output
from workers.engine.inference.stages import read_stages, run_stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workers.engine.arrays import Floats
    from workers.engine.inference.device import Device
    from workers.engine.inference.models import Network
    from workers.engine.inference.stages import Stage


class LoadedNetwork:
    """A network in the memory of a device; several threads may call it at once."""

    def __init__(
        self,
        network: Network,
        device: Device,
        precision: Precision,
        folder: Path,
        threads: int = 1,
        cache: Path | None = None,
    ) -> None:
        """Check the files and load the network.

        ``threads`` is the number of cells of all tiles that are computed at once, if the network works in
        stages. ``cache`` is the folder for networks converted to 8 bits; None: they are not kept. Raise
        WeightsError for a file with a wrong checksum, DeviceFault when loading fails.
        """
        check_weights(network, folder)
        self.network = network
        self.device = device
        # Called in the tile's thread after each stage; an exception of it ends the tile's call.
        self.after_stage: Callable[[], None] = lambda: None
        self._net = ncnn.Net()
        _set_options(self._net, device, precision)
        if precision is Precision.INT8 and device.vulkan_index is None and network.float_layers is not None:
            self._load_int8(folder, cache)
        else:
            self._load((folder / f"{network.stem}.param").read_text("ascii"), folder / f"{network.stem}.bin")
        # A GPU would copy every blob to the main memory and back, and its own memory is large enough.
        self._cell = network.cell if device.vulkan_index is None else None
        self._stages: list[Stage] = []
        if self._cell is not None:
            self._stages = read_stages(folder / f"{network.stem}.param")
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cell")

    @property
    def works_in_stages(self) -> bool:
        """Return True if the threads share a tile; otherwise each thread computes its own tile."""
        return self._cell is not None

    @property
    def stages_per_tile(self) -> int:
        """Return how often ``after_stage`` is called for a tile.

        It is 1 for a network without stages, which never calls it.
        """
        return max(1, len(self._stages))

    @property
    def longest_silence(self) -> float:
        """Return the share of a tile's time that passes at most between two calls of ``after_stage``."""
        # The last stages, in the size of the result, take up to twice as long as the others.
        return min(1, 2 / self.stages_per_tile)

    def _load(self, param: str, weights: Path) -> None:
        """Load the layers from text and the weights from a file into the network.

        Raise WeightsError if ncnn rejects the layers, DeviceFault if the weights cannot be loaded on the
        device.
        """
        if self._net.load_param_mem(param) != 0:
            raise WeightsError(f"ncnn cannot load {self.network.stem}.param.")
        if self._net.load_model(str(weights)) != 0:
            raise DeviceFault(f"{weights.name} could not be loaded on {self.device.id}.")

    def _load_int8(self, folder: Path, cache: Path | None) -> None:
        """Load the network with 8-bit weights: from ``cache``, or converted now, which takes some seconds.

        Without a cache, the converted files are deleted after the load. Raise WeightsError and DeviceFault as
        ``_load``.
        """

        def observe(images: Sequence[Floats], names: Sequence[str]) -> Iterator[list[Floats]]:
            """Run the images through the network in 32 bits and yield the blobs of these names for each."""
            exact = LoadedNetwork(self.network, self.device, Precision.FP32, folder)
            return (exact._extract({self.network.input_blob: image}, names) for image in images)

        with TemporaryDirectory(prefix="uprez-") as temporary:
            self._load(*int8_network(self.network, folder, cache or Path(temporary), observe))

    def __call__(self, tile: Floats) -> Floats:
        """Enlarge ``(3, H, W)`` RGB 0–1 to ``(3, H × scale, W × scale)``.

        Values may be slightly below 0 and above 1. Raise TileTooLarge when the device fails, DeviceFault when
        its result is wrong.
        """
        known = {self.network.input_blob: tile}
        if self._cell is None:
            (larger,) = self._extract(known, [self.network.output_blob])
        else:
            larger = run_stages(self._stages, known, self._extract, self._cell, self._pool, self.after_stage)
        _, height, width = tile.shape
        if larger.shape != (3, height * self.network.scale, width * self.network.scale):
            # Some drivers return an empty result when they have no memory left.
            fault = DeviceFault if larger.size else TileTooLarge
            raise fault(f"{self.device.id} returned {larger.shape} for a tile of {width}x{height}.")
        check_output(tile, larger, self.device)
        return larger

    def _extract(self, inputs: dict[str, Floats], names: Sequence[str]) -> list[Floats]:
        """Return the named blobs, planar, computed from others. Raise TileTooLarge."""
        # ncnn.Mat does not own an array's memory and reads it as contiguous float32: this dict keeps the
        # arrays alive until the extraction ends.
        contiguous = {name: np.ascontiguousarray(blob, dtype=np.float32) for name, blob in inputs.items()}
        found = []
        with self._net.create_extractor() as extractor:
            for name, blob in contiguous.items():
                extractor.input(name, ncnn.Mat(blob))
            for name in names:
                status, output = extractor.extract(name)
                if status != 0:
                    _, height, width = blob.shape
                    raise TileTooLarge(
                        f"{self.device.id} failed on a tile of {width}x{height} (status {status})."
                    )
                # It is a copy because the output's memory belongs to the extractor.
                found.append(np.array(output, dtype=np.float32))
        return found


def _set_options(net: Any, device: Device, precision: Precision) -> None:
    """Set the options of ncnn; this must come before the files are loaded, whose layout depends on them."""
    options = net.opt
    # Each tile has one thread: two tiles at once are faster than one tile on two threads, and the order of
    # additions, so every bit of the result, does not depend on the number of threads.
    options.num_threads = 1
    on_gpu = device.vulkan_index is not None
    options.use_vulkan_compute = on_gpu
    options.use_fp16_packed = on_gpu
    options.use_fp16_storage = on_gpu
    options.use_fp16_arithmetic = False  # with it, some drivers overflow and return black
    options.use_bf16_storage = not on_gpu and precision is Precision.BF16
    if on_gpu:
        net.set_vulkan_device(device.vulkan_index)
