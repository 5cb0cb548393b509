"""Run one network on one device: a tile in, a larger tile out."""

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
        """Raises WeightsError unless the files are exactly the ones we know, DeviceFault when loading fails.

        ``threads`` is how many cells of all tiles are computed at once, if the network works in stages. In
        ``cache`` lie networks that were made 8 bits; None: none is kept.
        """
        check_weights(network, folder)
        self.network = network
        self.device = device
        # Called in the thread of a tile after each stage of it; may raise, and then so does the tile's call.
        self.after_stage: Callable[[], None] = lambda: None
        self._net = ncnn.Net()
        _set_options(self._net, device, precision)
        if precision is Precision.INT8 and device.vulkan_index is None and network.float_layers is not None:
            self._load_int8(folder, cache)
        else:
            self._load((folder / f"{network.stem}.param").read_text("ascii"), folder / f"{network.stem}.bin")
        # A GPU would carry every blob to the main memory and back, and has enough of its own.
        self._cell = network.cell if device.vulkan_index is None else None
        self._stages: list[Stage] = []
        if self._cell is not None:
            self._stages = read_stages(folder / f"{network.stem}.param")
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cell")

    @property
    def works_in_stages(self) -> bool:
        """Whether the threads share a tile; otherwise each takes one of its own."""
        return self._cell is not None

    @property
    def stages_per_tile(self) -> int:
        """How often ``after_stage`` is called for a tile; 1 for a network that is not cut, which never calls it."""
        return max(1, len(self._stages))

    @property
    def longest_silence(self) -> float:
        """Which part of the time that a tile takes passes at most between two calls of ``after_stage``."""
        # The last stages, at the size of the result, take up to twice as long as the others.
        return min(1, 2 / self.stages_per_tile)

    def _load(self, param: str, weights: Path) -> None:
        if self._net.load_param_mem(param) != 0:
            raise WeightsError(f"ncnn cannot load {self.network.stem}.param.")
        if self._net.load_model(str(weights)) != 0:
            raise DeviceFault(f"{weights.name} could not be loaded on {self.device.id}.")

    def _load_int8(self, folder: Path, cache: Path | None) -> None:
        def observe(images: Sequence[Floats], names: Sequence[str]) -> Iterator[list[Floats]]:
            exact = LoadedNetwork(self.network, self.device, Precision.FP32, folder)
            return (exact._extract({self.network.input_blob: image}, names) for image in images)

        with TemporaryDirectory(prefix="uprez-") as temporary:
            self._load(*int8_network(self.network, folder, cache or Path(temporary), observe))

    def __call__(self, tile: Floats) -> Floats:
        """``(3, H, W)`` RGB 0–1 → ``(3, H × scale, W × scale)``, which may go a little below 0 and above 1.

        Raises TileTooLarge when the device fails, DeviceFault when its answer cannot be right.
        """
        known = {self.network.input_blob: tile}
        if self._cell is None:
            (larger,) = self._extract(known, [self.network.output_blob])
        else:
            larger = run_stages(self._stages, known, self._extract, self._cell, self._pool, self.after_stage)
        _, height, width = tile.shape
        if larger.shape != (3, height * self.network.scale, width * self.network.scale):
            # Nothing at all is how some drivers say that there is no memory left.
            fault = DeviceFault if larger.size else TileTooLarge
            raise fault(f"{self.device.id} answered a tile of {width}x{height} with {larger.shape}.")
        check_output(tile, larger, self.device)
        return larger

    def _extract(self, inputs: dict[str, Floats], names: Sequence[str]) -> list[Floats]:
        """Some blobs from others, planar all of them. Raises TileTooLarge."""
        # ncnn.Mat does not own an array's memory, and reads it as if it were contiguous float32: these
        # names keep the arrays alive until the extraction is over.
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
                # A copy, because the memory of the output goes with the extractor.
                found.append(np.array(output, dtype=np.float32))
        return found


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
