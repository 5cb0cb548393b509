"""The self-test of a device: a reference image made by a formula, and each network's expected result for it."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from workers.engine.errors import DeviceFault, ManifestError
from workers.engine.inference.device import cpu_device
from workers.engine.inference.models import Precision
from workers.engine.inference.ncnn_param import channels_of, read_layers
from workers.engine.inference.network import LoadedNetwork

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from workers.engine.arrays import Floats
    from workers.engine.inference.models import Network

    Samples = NDArray[np.uint8]

RGB = 3
SIDE = 16
DISC_RADIUS = 0.316
SAMPLES = 6  # on each side
IDENTICAL_DB = 99.0  # not infinite, which JSON cannot express
MIN_AGREEMENT_DB = 40.0  # rounding to 16 bits gives 50 and more; a broken driver gives 5 to 20

# SAMPLES × SAMPLES evenly spread pixels of the 8-bit RGB result in 32 bits on a CPU, by the stem of a shipped
# network.
_EXPECTED: dict[str, str] = {
    "REALESRGAN_ANIMAVIDEOV3_UP2X": (
        "06204667888d081a696674d30b526b6cbfd2055958c0cad50800a1abbfcf00577fa6c0d4"
        "0400000000000701350e00c61035332ccfc21e3b35f5ccca2119ffc9cfd026e8dbd9d8d5"
        "03040a1b2d120506bc1b1b330bdbdcc5263a0ed7b2fa3d471b0dc841464a092239454d50"
    ),
    "REALESRGAN_ANIMAVIDEOV3_UP3X": (
        "061f4665888a092069617bd60c556d75c2d30b575cbacad5090ba3a2c0cf005381a6c1d5"
        "05010000000007002c0e05c710323124c9c2193c2df8caca2027ffcecfcf28eadad8d7d3"
        "03040a172c130404b811132d0adadec72f3c12d8c3f93b461d0cc33f464b10243b444f52"
    ),
    "REALESRGAN_ANIMAVIDEOV3_UP4X": (
        "06204466858a0a156b517ed60b526b79bbd30c5c52b7c7d60600a3a7bfcf005a82a6c2d5"
        "0501000000030707371202c310363229cec1173735ffcdca200effc3d1d028e3dad7d7d3"
        "0303091a2a130505bf1b1d360bd9daca303d15d4bef73e471b1bd24c454b122b3b474d53"
    ),
    "REALESRGAN_X4PLUS_UP4X": (
        "08254975855d0118737370c70558768cb0c9066268d1bcce0e1aaea1bbce144a779abdc9"
        "05040400000006092a0100b5132a3741b8ba1d3334fdc4c31b12fbd0cac91fcdd1cecdc2"
        "050a101e26000205ea131b2104cfd2d9233508e1bdfb3845191bf034414c12243b43505d"
    ),
    "REALESRGAN_X4PLUSANIME_UP4X": (
        "101c406a916304165b7b7ed20159686ac7d0005d4ebdc2d20405cc97bad207576f91b6d4"
        "0600000000080405380000c60933322dbebd143738ffc4c71206ffd6cfcd15e3deded5c5"
        "03010814160f0103e116163103c8d6d235400ed6d7f5444a1305ff3f464f162b33414a67"
    ),
}


def reference_image() -> Floats:
    """Return ``(3, 16, 16)`` RGB 0–1: a slope, a hard edge and a disc, each mainly in one channel."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / (SIDE - 1)
    edge = (rows + columns > 1).astype(np.float32)
    disc = ((rows - 0.5) ** 2 + (columns - 0.4) ** 2 < DISC_RADIUS**2).astype(np.float32)
    return np.stack(
        [
            (4 * first + second + third) / 6
            for first, second, third in ((columns, edge, disc), (edge, disc, rows), (disc, rows, columns))
        ]
    )


def output_samples(network: LoadedNetwork) -> Samples:
    """Return ``(3, SAMPLES, SAMPLES)`` pixels of a network's result for the reference image.

    Raise DeviceFault.
    """
    larger = network(reference_image())
    positions = np.linspace(0, larger.shape[1] - 1, SAMPLES).round().astype(int)
    rounded = (np.clip(larger, 0, 1) * 255 + 0.5).astype(np.uint8)
    return rounded[:, positions[:, None], positions]


def expected_samples(network: Network) -> Samples:
    """Return the result of a CPU in 32 bits: stored for a shipped network, computed now for an operator's.

    Raise ManifestError or WeightsError when the network is at fault, and not a device.
    """
    if network.folder is None:
        known = np.frombuffer(bytes.fromhex(_EXPECTED[network.stem]), dtype=np.uint8)
        return known.reshape(3, SAMPLES, SAMPLES)
    return _cpu_samples(network, network.folder)


@cache
def _cpu_samples(network: Network, folder: Path) -> Samples:
    """Return the samples of an operator's network on the CPU in 32 bits, which all other devices are compared
    with.

    Raise WeightsError if ncnn rejects its layers. Raise ManifestError if the network does not match its
    manifest, accepts other channels than three, fails on odd sides or returns one colour for the reference
    image.
    """
    try:
        loaded = LoadedNetwork(network, cpu_device(), Precision.FP32, folder)
        # ncnn does not check the channels and would read memory behind the image.
        layers = read_layers((folder / f"{network.stem}.param").read_text("ascii"))
        if channels_of(network.input_blob, layers) - {RGB}:
            raise ManifestError(f"The network {network.stem} does not accept images with three channels.")
        samples = output_samples(loaded)
        loaded(reference_image()[:, 1:, :-2])  # odd sides, because tiles have any size
    except (DeviceFault, ValueError, LookupError) as fault:  # the last two for an invalid .param
        raise ManifestError(
            f"The network {network.stem} does not match its manifest "
            f"(scale {network.scale}, input {network.input_blob}, output {network.output_blob}): {fault}"
        ) from fault
    if not np.ptp(samples, axis=(1, 2)).any():
        raise ManifestError(f"The network {network.stem} returns a single colour for every image.")
    return samples


def agreement_db(network: LoadedNetwork) -> float:
    """Return the peak signal-to-noise ratio of a device's result to the expected one, at most IDENTICAL_DB.

    Raise DeviceFault when the device fails, ManifestError or WeightsError as ``expected_samples`` does.
    """
    expected = expected_samples(network.network)
    difference = output_samples(network).astype(np.float64) - expected
    mean_square = float(np.mean(difference**2))
    return IDENTICAL_DB if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


def check_agreement(network: LoadedNetwork) -> float:
    """Return the agreement in dB. Raise DeviceFault when it is so low that only a fault explains it.

    Raise ManifestError or WeightsError as ``expected_samples`` does.
    """
    agreement = agreement_db(network)
    if agreement < MIN_AGREEMENT_DB:
        raise DeviceFault(
            f"{network.device.id} ({network.device.name}) fails its self-test with {network.network.stem}: "
            f"{agreement:.1f} dB of at least {MIN_AGREEMENT_DB:.0f}."
        )
    return agreement
