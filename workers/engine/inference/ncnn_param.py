"""The layers of a network as its ncnn ``.param`` file lists them, each after all whose blobs it needs."""

from __future__ import annotations

from dataclasses import dataclass

HEADER_LINES = 2  # a magic number, and how many layers and blobs there are


@dataclass(frozen=True)
class Layer:
    """``parameters`` by ncnn's number for each; of a convolution 0 is how many filters, 1 the kernel's side,
    11 its height if that is another, 6 how many weights.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[str, str]


def read_layers(text: str) -> list[Layer]:
    """All but the input and the copies, which stand for what they are copied from."""
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


# They give out as many channels as they take, each pixel or each channel by itself.
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
    """How many channels the convolutions take this blob to have that it reaches: one number in a sound network."""
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
    width = layer.parameters["1"]
    return int(width) * int(layer.parameters.get("11", width))
