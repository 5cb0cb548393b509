"""Networks in 8 bits, converted from the shipped ones when first needed and kept in a folder.

ncnn computes a convolution in integers if the layer says so: each filter's weights have their own scale, but
all channels of its input share one. A dense block reads channels of very different ranges, and the narrow
ones would lose their precision. So the channels are equalized first: the output of a filter is divided by a
factor and the weights that read it are multiplied by it. The network's output stays the same, because a leaky
ReLU preserves factors (cross-layer equalization, https://arxiv.org/abs/1906.04721; the factor that shares the
loss between inputs and weights is that of SmoothQuant, https://arxiv.org/abs/2211.10438).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workers.engine.errors import WeightsError
from workers.engine.inference.ncnn_param import HEADER_LINES, read_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from workers.engine.arrays import Floats
    from workers.engine.inference.models import Network
    from workers.engine.inference.ncnn_param import Layer

    Observe = Callable[[Sequence[Floats], Sequence[str]], Iterator[list[Floats]]]

_VERSION = 1  # of the conversion: a new version converts all networks again
_FP16_TAG = 0x01306B47
_FP32_TAG = 0
_INT8_TAG = 0x000D4B38
_LARGEST = 127
_DIGEST_BYTES = 32
_KERNEL = 3
_EPSILON = np.float32(1e-6)  # avoids a division by 0 for channels that are always 0
_ACTIVATION, _LEAKY_RELU = "9", "2"

IMAGES = 3
IMAGE_SIDE = 64


@dataclass
class _Convolution:
    """A convolution layer of a network with its weights."""

    layer: Layer
    sources: tuple[str, ...]  # the blobs whose channels it reads, in this order
    weights: Floats  # (filters, channels, 3, 3)
    bias: Floats
    is_quantized: bool

    @property
    def output(self) -> str:
        return self.layer.outputs[0]


def int8_network(network: Network, folder: Path, cache: Path, observe: Observe) -> tuple[str, Path]:
    """Return the text of the ``.param`` and the path of the ``.bin`` of a network in 8 bits.

    ``observe(images, names)`` yields the named blobs that the 32-bit network computes for each image. It is
    called only if ``cache`` does not hold the file, or holds a damaged one. Several processes may do this at
    once. Raise WeightsError for weights of another kind, OSError.
    """
    param = folder / f"{network.stem}.param"
    stamp = hashlib.sha256(f"{_VERSION} {network}".encode()).hexdigest()[:16]
    path = cache / f"{network.stem}-int8-{stamp}.bin"
    if not _is_intact(path):
        cache.mkdir(parents=True, exist_ok=True)
        content = _convert(network, folder, observe)
        with tempfile.NamedTemporaryFile(dir=cache, prefix=".", delete=False) as file:
            file.write(content + hashlib.sha256(content).digest())
        os.replace(file.name, path)  # noqa: PTH105  # atomic for other processes that read or write it
    return _int8_param(param.read_text("ascii"), network), path


def calibration_images() -> list[Floats]:
    """Return ``(3, 64, 64)`` RGB 0–1 images for the calibration.

    They show noise with a photograph's spectrum, stripes with hard edges, and a disc. They come from a
    formula because no photograph is shipped, and are as good because they only need to show the range of each
    channel: with them x4plus keeps 42.8 to 50 dB on six photographs, with three photographs 42.4 to 52.
    """
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[0:IMAGE_SIDE, 0:IMAGE_SIDE] / (IMAGE_SIDE - 1)
    frequency = np.hypot(np.fft.fftfreq(IMAGE_SIDE)[:, None], np.fft.rfftfreq(IMAGE_SIDE))
    disc = (rows - 0.5) ** 2 + (columns - 0.4) ** 2 < 0.1  # noqa: PLR2004
    images = []
    for index in range(IMAGES):
        spectrum = np.maximum(frequency, 1 / IMAGE_SIDE) ** -(1 + 0.25 * index)
        phases = np.exp(2j * np.pi * random.random((3, *spectrum.shape)))
        noise = np.fft.irfft2(spectrum * phases, s=(IMAGE_SIDE, IMAGE_SIDE))
        lowest, highest = noise.min((1, 2), keepdims=True), noise.max((1, 2), keepdims=True)
        stripes = np.sin(17 * (columns + 0.3 * index * rows) + 5 * rows**2) > 0.2 * index
        colour = np.roll([1, 0.5, 0], -index)[:, None, None]
        image = (noise - lowest) / (highest - lowest) * (0.4 + 0.6 * stripes)
        images.append((image * (1 - 0.7 * disc) + 0.3 * disc * colour).astype(np.float32))
    return images


def _convert(network: Network, folder: Path, observe: Observe) -> bytes:
    """Return the content of the ``.bin`` file in 8 bits, after a calibration with ``observe``.

    Raise WeightsError.
    """
    convolutions = _read(network, folder)
    quantized = [convolution for convolution in convolutions if convolution.is_quantized]
    ranges = _ranges(quantized, observe)
    _equalize(convolutions, ranges)
    return _pack(convolutions, ranges)


def _pack(convolutions: Sequence[_Convolution], ranges: dict[str, Floats]) -> bytes:
    """Return the convolutions in the format of ncnn's ``.bin``."""
    parts = []
    for convolution in convolutions:
        if convolution.is_quantized:
            widest = max(float(ranges[name].max()) for name in convolution.sources)
            parts.append(_pack_int8(convolution, _LARGEST / widest))
        else:
            parts += [
                _FP32_TAG.to_bytes(4, "little"),
                _to_little_endian(convolution.weights),
                _to_little_endian(convolution.bias),
            ]
    return b"".join(parts)


def _read(network: Network, folder: Path) -> list[_Convolution]:
    """Return the convolutions of the shipped network, in 16 bits on disk.

    Raise WeightsError for another format.
    """
    content = (folder / f"{network.stem}.bin").read_bytes()
    layers = read_layers((folder / f"{network.stem}.param").read_text("ascii"))
    joined = {layer.outputs[0]: layer.inputs for layer in layers if layer.kind == "Concat"}
    quantized = _quantized_layers(layers, network)
    found, position = [], 0
    for layer in layers:
        if layer.kind != "Convolution":
            continue
        filters, size = int(layer.parameters["0"]), int(layer.parameters["6"])
        if int.from_bytes(content[position : position + 4], "little") != _FP16_TAG:
            raise WeightsError(f"{network.stem}.bin holds weights that cannot be converted to 8 bits.")
        weights = np.frombuffer(content, "<f2", size, position + 4).astype(np.float32)
        position += 4 + -(-size * 2 // 4) * 4
        bias = np.frombuffer(content, "<f4", filters, position).copy()
        position += filters * 4
        (read,) = layer.inputs
        found.append(
            _Convolution(
                layer,
                joined.get(read, (read,)),
                weights.reshape(filters, -1, _KERNEL, _KERNEL),
                bias,
                layer in quantized,
            )
        )
    if position != len(content):
        raise WeightsError(f"{network.stem}.bin holds more than the convolutions of its .param.")
    return found


def _quantized_layers(layers: Sequence[Layer], network: Network) -> list[Layer]:
    """Return the convolutions to compute in 8 bits.

    The first one, which reads the image, stays in floating point, and so do those of the last ones whose
    errors are the most visible.
    """
    assert network.float_layers is not None
    convolutions = [layer for layer in layers if layer.kind == "Convolution"]
    sums = [layer for layer in convolutions[-network.float_sums :] if _ACTIVATION not in layer.parameters]
    return [layer for layer in convolutions[1 : -network.float_layers] if layer not in sums]


def _ranges(quantized: Sequence[_Convolution], observe: Observe) -> dict[str, Floats]:
    """Return the largest absolute value of each channel of each blob that is read in 8 bits."""
    # The blobs are read in the order of their computation: ncnn releases a blob after its last use.
    names = list(dict.fromkeys(name for convolution in quantized for name in convolution.sources))
    largest: dict[str, Floats] = {}
    for blobs in observe(calibration_images(), names):
        for name, blob in zip(names, blobs, strict=True):
            here = np.abs(blob).max((1, 2))
            largest[name] = np.maximum(largest.get(name, here), here)
    return largest


def _equalize(convolutions: Sequence[_Convolution], ranges: dict[str, Floats]) -> None:
    """Equalize the channels of all blobs in place, and update ``ranges``."""
    for convolution in convolutions:
        readers = [other for other in convolutions if convolution.output in other.sources]
        quantized = [other for other in readers if other.is_quantized]
        if not quantized or convolution.layer.parameters.get(_ACTIVATION) != _LEAKY_RELU:
            continue
        # The factor is relative to the block's first channels, which other layers read as well and so stay
        # unchanged.
        first = ranges[quantized[0].sources[0]]
        heaviest = max(np.abs(other.weights[:, : len(first)]).max() for other in quantized)
        heavy = np.max(
            [
                np.abs(other.weights[:, _channels(other, convolution.output, ranges)]).max((0, 2, 3))
                for other in quantized
            ],
            axis=0,
        )
        wide = ranges[convolution.output]
        factor = np.sqrt(np.maximum(wide, _EPSILON) / first.max() / (np.maximum(heavy, _EPSILON) / heaviest))
        convolution.weights /= factor[:, None, None, None]
        convolution.bias /= factor
        ranges[convolution.output] = wide / factor
        for other in readers:
            other.weights[:, _channels(other, convolution.output, ranges)] *= factor[None, :, None, None]


def _channels(reader: _Convolution, blob: str, ranges: dict[str, Floats]) -> slice:
    """Return the position of a blob's channels in the input of ``reader``."""
    before = reader.sources[: reader.sources.index(blob)]
    start = sum(len(ranges[name]) for name in before)
    return slice(start, start + len(ranges[blob]))


def _pack_int8(convolution: _Convolution, input_scale: float) -> bytes:
    """Return one convolution in 8 bits, in the format of ncnn's ``.bin``."""
    scales = _LARGEST / np.maximum(np.abs(convolution.weights).max((1, 2, 3)), _EPSILON)
    rounded = np.round(convolution.weights * scales[:, None, None, None]).astype(np.int8).tobytes()
    return b"".join(
        [
            _INT8_TAG.to_bytes(4, "little"),
            rounded.ljust(-(-len(rounded) // 4) * 4, b"\0"),
            _to_little_endian(convolution.bias),
            _to_little_endian(scales),
            _to_little_endian(np.array(input_scale)),
        ]
    )


def _int8_param(text: str, network: Network) -> str:
    """Return the ``.param`` with the layers marked that ncnn computes in 8 bits."""
    quantized_names = {layer.outputs[0] for layer in _quantized_layers(read_layers(text), network)}
    lines = text.splitlines()
    for index in range(HEADER_LINES, len(lines)):
        kind, _, inputs, _, *rest = lines[index].split()
        if kind == "Convolution" and rest[int(inputs)] in quantized_names:
            lines[index] += " 8=2"  # one scale for each filter
    return "\n".join(lines) + "\n"


def _is_intact(path: Path) -> bool:
    """Return whether the file can be read and ends with the SHA-256 of the rest of it."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]


def _to_little_endian(numbers: NDArray[np.floating]) -> bytes:
    """Return the numbers as 32-bit floats, little-endian, in row-major order."""
    return numbers.astype("<f4").tobytes()
