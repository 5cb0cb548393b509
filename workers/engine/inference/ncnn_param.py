"""The layers of a network in its ncnn ``.param`` file, in the order of computation."""

from __future__ import annotations

from dataclasses import dataclass

HEADER_LINES = 2  # a magic number, and the numbers of layers and blobs


@dataclass(frozen=True)
class Layer:
    """One layer; ``parameters`` are keyed by ncnn's numbers.

    For a convolution 0 is the number of filters, 1 the kernel's width, 11 its height if it differs, 6 the
    number of weights.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[str, str]


def read_layers(text: str) -> list[Layer]:
    """Return the layers without the input and without copies, which are replaced by their sources."""
    original: dict[str, str] = {}
    found = []
    for line in filter(str.strip, text.splitlines()[HEADER_LINES:]):
        kind, _, *rest = line.split()
        count, made = int(rest[0]), int(rest[1])
        names, parameters = rest[2 : 2 + count + made], rest[2 + count + made :]
        inputs = tuple(original.get(name, name) for name in names[:count])
        if kind == "Split":
            original |= dict.fromkeys(names[count:], inputs[0])
        elif kind != "Input":
            pairs = [parameter.split("=", 1) for parameter in parameters]
            found.append(Layer(kind, inputs, tuple(names[count:]), dict(pairs)))
    return found


# The output has as many channels as the input: they compute each pixel or each channel separately.
_KEEP_CHANNELS = {
    "AbsVal",
    "BinaryOp",
    "Clip",
    "Dropout",
    "Interp",
    "Noop",
    "Padding",
    "Power",
    "ReLU",
    "UnaryOp",
}


def channels_of(blob: str, layers: list[Layer]) -> set[int]:
    """Return the numbers of input channels of all convolutions that this blob reaches.

    A valid network has one number.
    """
    alike = {blob}
    found = set()
    for layer in layers:
        if alike.isdisjoint(layer.inputs):
            continue
        if layer.kind == "Convolution":
            found.add(int(layer.parameters["6"]) // (int(layer.parameters["0"]) * _kernel_pixels(layer)))
        elif layer.kind in _KEEP_CHANNELS:
            alike |= set(layer.outputs)
    return found


def _kernel_pixels(layer: Layer) -> int:
    """Return width × height of a convolution's kernel; without a height, it is square."""
    width = layer.parameters["1"]
    return int(width) * int(layer.parameters.get("11", width))
