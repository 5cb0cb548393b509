"""Networks in 8 bits, made from the shipped ones when first needed and kept in a folder.

ncnn computes a convolution in integers when the layer says so: the weights of each filter have a scale of their
own, but all channels of its input share one. A dense block reads channels of very different ranges, and the
narrow ones would be lost in it. So they are evened out first: what a filter makes is divided by a factor and
what reads it is multiplied, which leaves the network's answer as it was, because a leaky ReLU keeps factors
(cross-layer equalization, https://arxiv.org/abs/1906.04721; the factor that shares the loss between inputs and
weights is that of SmoothQuant, https://arxiv.org/abs/2211.10438).
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

_VERSION = 1  # of the recipe: another one makes all files anew
_FP16_TAG = 0x01306B47
_FP32_TAG = 0
_INT8_TAG = 0x000D4B38
_LARGEST = 127
_DIGEST_BYTES = 32
_KERNEL = 3
_TINY = np.float32(1e-6)  # for channels that are always 0
_ACTIVATION, _LEAKY_RELU = "9", "2"

PICTURES = 3
PICTURE_SIDE = 64


@dataclass
class _Convolution:
    layer: Layer
    sources: tuple[str, ...]  # the blobs whose channels it reads, one after the other
    weights: Floats  # (filters, channels, 3, 3)
    bias: Floats
    in_8_bits: bool

    @property
    def output(self) -> str:
        return self.layer.outputs[0]


def int8_network(network: Network, folder: Path, kept: Path, observe: Observe) -> tuple[str, Path]:
    """The text of the ``.param`` and the path of the ``.bin`` of a network in 8 bits.

    ``observe(pictures, names)`` is what the network in 32 bits makes of each picture, blob by blob. It is asked
    only if ``kept`` does not hold the file yet, or holds a damaged one. Several processes may do this at once.
    Raises WeightsError for weights of another kind, OSError.
    """
    param = folder / f"{network.stem}.param"
    stamp = hashlib.sha256(f"{_VERSION} {network}".encode()).hexdigest()[:16]
    path = kept / f"{network.stem}-int8-{stamp}.bin"
    if not _is_sound(path):
        kept.mkdir(parents=True, exist_ok=True)
        content = _converted(network, folder, observe)
        with tempfile.NamedTemporaryFile(dir=kept, prefix=".", delete=False) as file:
            file.write(content + hashlib.sha256(content).digest())
        os.replace(file.name, path)  # noqa: PTH105 — as one step, whoever else writes or reads it
    return _param_in_8_bits(param.read_text("ascii"), network), path


def calibration_pictures() -> list[Floats]:
    """``(3, 64, 64)`` RGB 0–1 each: noise with the spectrum of photographs, stripes with hard edges, a disc.

    By a formula, because no photograph ships with us, and no worse: what they have to show is the range of
    each channel. With these x4plus keeps 42.8 to 50 dB on six photographs, with three photographs 42.4 to 52.
    """
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[0:PICTURE_SIDE, 0:PICTURE_SIDE] / (PICTURE_SIDE - 1)
    frequency = np.hypot(np.fft.fftfreq(PICTURE_SIDE)[:, None], np.fft.rfftfreq(PICTURE_SIDE))
    disc = (rows - 0.5) ** 2 + (columns - 0.4) ** 2 < 0.1  # noqa: PLR2004
    pictures = []
    for index in range(PICTURES):
        spectrum = np.maximum(frequency, 1 / PICTURE_SIDE) ** -(1 + 0.25 * index)
        phases = np.exp(2j * np.pi * random.random((3, *spectrum.shape)))
        noise = np.fft.irfft2(spectrum * phases, s=(PICTURE_SIDE, PICTURE_SIDE))
        lowest, highest = noise.min((1, 2), keepdims=True), noise.max((1, 2), keepdims=True)
        stripes = np.sin(17 * (columns + 0.3 * index * rows) + 5 * rows**2) > 0.2 * index
        colour = np.roll([1, 0.5, 0], -index)[:, None, None]
        picture = (noise - lowest) / (highest - lowest) * (0.4 + 0.6 * stripes)
        pictures.append((picture * (1 - 0.7 * disc) + 0.3 * disc * colour).astype(np.float32))
    return pictures


def _converted(network: Network, folder: Path, observe: Observe) -> bytes:
    convolutions = _read(network, folder)
    quantized = [one for one in convolutions if one.in_8_bits]
    ranges = _ranges(quantized, observe)
    _even_out(convolutions, ranges)
    return _packed(convolutions, ranges)


def _packed(convolutions: Sequence[_Convolution], ranges: dict[str, Floats]) -> bytes:
    """As ncnn reads them from a ``.bin``."""
    parts = []
    for one in convolutions:
        if one.in_8_bits:
            widest = max(float(ranges[name].max()) for name in one.sources)
            parts.append(_in_8_bits(one, _LARGEST / widest))
        else:
            parts += [_FP32_TAG.to_bytes(4, "little"), _little(one.weights), _little(one.bias)]
    return b"".join(parts)


def _read(network: Network, folder: Path) -> list[_Convolution]:
    content = (folder / f"{network.stem}.bin").read_bytes()
    layers = read_layers((folder / f"{network.stem}.param").read_text("ascii"))
    joined = {layer.outputs[0]: layer.inputs for layer in layers if layer.kind == "Concat"}
    chosen = _chosen(layers, network)
    found, place = [], 0
    for layer in layers:
        if layer.kind != "Convolution":
            continue
        filters, size = int(layer.parameters["0"]), int(layer.parameters["6"])
        if int.from_bytes(content[place : place + 4], "little") != _FP16_TAG:
            raise WeightsError(f"{network.stem}.bin holds weights that cannot be made 8 bits.")
        weights = np.frombuffer(content, "<f2", size, place + 4).astype(np.float32)
        place += 4 + -(-size * 2 // 4) * 4
        bias = np.frombuffer(content, "<f4", filters, place).copy()
        place += filters * 4
        (read,) = layer.inputs
        found.append(
            _Convolution(
                layer,
                joined.get(read, (read,)),
                weights.reshape(filters, -1, _KERNEL, _KERNEL),
                bias,
                layer in chosen,
            )
        )
    if place != len(content):
        raise WeightsError(f"{network.stem}.bin holds more than the convolutions of its .param.")
    return found


def _chosen(layers: Sequence[Layer], network: Network) -> list[Layer]:
    """Not the first convolution, which reads the picture, and of the last ones those whose errors show most."""
    assert network.float_layers is not None
    convolutions = [layer for layer in layers if layer.kind == "Convolution"]
    sums = [layer for layer in convolutions[-network.float_sums :] if _ACTIVATION not in layer.parameters]
    return [layer for layer in convolutions[1 : -network.float_layers] if layer not in sums]


def _ranges(quantized: Sequence[_Convolution], observe: Observe) -> dict[str, Floats]:
    """The largest absolute value of each channel of each blob that is read in 8 bits."""
    # In the order in which they are made: ncnn forgets a blob once all that needed it have had it.
    names = list(dict.fromkeys(name for one in quantized for name in one.sources))
    largest: dict[str, Floats] = {}
    for blobs in observe(calibration_pictures(), names):
        for name, blob in zip(names, blobs, strict=True):
            here = np.abs(blob).max((1, 2))
            largest[name] = np.maximum(largest.get(name, here), here)
    return largest


def _even_out(convolutions: Sequence[_Convolution], ranges: dict[str, Floats]) -> None:
    for one in convolutions:
        readers = [other for other in convolutions if one.output in other.sources]
        quantized = [other for other in readers if other.in_8_bits]
        if not quantized or one.layer.parameters.get(_ACTIVATION) != _LEAKY_RELU:
            continue
        # Relative to the channels that the block began with, which others read as well and so stay as they are.
        first = ranges[quantized[0].sources[0]]
        heaviest = max(np.abs(other.weights[:, : len(first)]).max() for other in quantized)
        heavy = np.max(
            [
                np.abs(other.weights[:, _channels(other, one.output, ranges)]).max((0, 2, 3))
                for other in quantized
            ],
            axis=0,
        )
        wide = ranges[one.output]
        factor = np.sqrt(np.maximum(wide, _TINY) / first.max() / (np.maximum(heavy, _TINY) / heaviest))
        one.weights /= factor[:, None, None, None]
        one.bias /= factor
        ranges[one.output] = wide / factor
        for other in readers:
            other.weights[:, _channels(other, one.output, ranges)] *= factor[None, :, None, None]


def _channels(reader: _Convolution, blob: str, ranges: dict[str, Floats]) -> slice:
    before = reader.sources[: reader.sources.index(blob)]
    start = sum(len(ranges[name]) for name in before)
    return slice(start, start + len(ranges[blob]))


def _in_8_bits(one: _Convolution, input_scale: float) -> bytes:
    scales = _LARGEST / np.maximum(np.abs(one.weights).max((1, 2, 3)), _TINY)
    rounded = np.round(one.weights * scales[:, None, None, None]).astype(np.int8).tobytes()
    return b"".join(
        [
            _INT8_TAG.to_bytes(4, "little"),
            rounded.ljust(-(-len(rounded) // 4) * 4, b"\0"),
            _little(one.bias),
            _little(scales),
            _little(np.array(input_scale)),
        ]
    )


def _param_in_8_bits(text: str, network: Network) -> str:
    chosen = {layer.outputs[0] for layer in _chosen(read_layers(text), network)}
    lines = text.splitlines()
    for index in range(HEADER_LINES, len(lines)):
        kind, _, inputs, _, *rest = lines[index].split()
        if kind == "Convolution" and rest[int(inputs)] in chosen:
            lines[index] += " 8=2"  # one scale for each filter
    return "\n".join(lines) + "\n"


def _is_sound(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]


def _little(numbers: NDArray[np.floating]) -> bytes:
    return numbers.astype("<f4").tobytes()
