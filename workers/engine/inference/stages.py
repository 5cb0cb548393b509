"""Cut a deep network into stages, and run each stage over the whole tile in small cells.

A pixel behind a whole RRDB network depends on hundreds of pixels around it, so tiles need wide pads, and pads
are computed twice. Behind one residual block it depends on five pixels around it: the cells of a stage
overlap only by that and join exactly, in the memory of a cell and not of a tile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from workers.engine.inference.ncnn_param import read_layers
from workers.engine.inference.tiles import plan_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from workers.engine.arrays import Floats
    from workers.engine.inference.ncnn_param import Layer
    from workers.engine.inference.tiles import Tile

    Extract = Callable[[dict[str, Floats], Sequence[str]], list[Floats]]

_ADDITIONS = {"BinaryOp", "Eltwise"}


@dataclass(frozen=True)
class Stage:
    """Some layers of a network: their input blobs, and the output blobs that later layers need.

    A pixel of the output depends on ``reach`` pixels of the input around it; the output is ``scale`` times
    larger.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reach: int
    scale: int


def read_stages(param: Path) -> list[Stage]:
    """Return the stages of the network in this ncnn file; each residual block is one.

    The network may consist only of convolutions (3×3 or similar, without stride), additions and enlargements.
    """
    layers = read_layers(param.read_text("ascii"))
    ends = [
        index + 1
        for index, (layer, following) in enumerate(pairwise(layers))
        if layer.kind in _ADDITIONS and following.kind not in _ADDITIONS
    ]
    starts = [0, *ends]
    return [
        _stage(layers[start:end], layers[end:])
        for start, end in zip(starts, [*ends, len(layers)], strict=True)
    ]


def run_stages(
    stages: Sequence[Stage],
    known: dict[str, Floats],
    extract: Extract,
    cell: int,
    pool: Executor,
    after_stage: Callable[[], None],
) -> Floats:
    """Return the output of the last stage for the network's input ``known``, which is consumed.

    ``extract(inputs, names)`` lets the network compute these blobs; it runs in ``pool`` for ``cell`` ×
    ``cell`` pixels at a time. The numbers do not depend on the number of threads.
    """
    for index, stage in enumerate(stages):
        known |= _run(stage, known, extract, cell, pool)
        wanted = {name for other in stages[index + 1 :] for name in other.inputs} | set(stages[-1].outputs)
        for name in known.keys() - wanted:
            del known[name]
        after_stage()
    (output,) = known.values()
    return output


def _run(
    stage: Stage, known: dict[str, Floats], extract: Extract, cell: int, pool: Executor
) -> dict[str, Floats]:
    """Run one stage in cells of the side ``cell`` in parallel, and return its whole outputs by name.

    ``known`` has the inputs. A stage that enlarges uses cells of half the side, for its larger outputs.
    """
    _, height, width = known[stage.inputs[0]].shape
    # An enlarged cell needs memory for its larger size.
    side = cell if stage.scale == 1 else cell // 2
    plan = plan_tiles(width, height, tile=side, pad=stage.reach, feather=0)

    def compute(tile: Tile) -> list[Floats]:
        """Return the outputs of one cell, without its pad."""
        rows, columns = tile.rows, tile.columns
        read = np.s_[:, rows.read_start : rows.read_stop, columns.read_start : columns.read_stop]
        found = extract({name: known[name][read] for name in stage.inputs}, stage.outputs)
        return [blob[:, rows.kept(stage.scale), columns.kept(stage.scale)] for blob in found]

    whole: list[Floats] = []
    for tile, parts in zip(plan.tiles, pool.map(compute, plan.tiles), strict=True):
        if not whole:
            larger = height * stage.scale, width * stage.scale
            whole = [np.empty((len(part), *larger), dtype=np.float32) for part in parts]
        for blob, part in zip(whole, parts, strict=True):
            top, left = tile.rows.start * stage.scale, tile.columns.start * stage.scale
            blob[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    return dict(zip(stage.outputs, whole, strict=True))


def _stage(layers: list[Layer], following: list[Layer]) -> Stage:
    """Return the stage of these layers, with the outputs that ``following`` needs, or the last one.

    ``reach`` is in pixels of the input, rounded up.
    """
    made = [name for layer in layers for name in layer.outputs]
    needed_later = {name for layer in following for name in layer.inputs}
    needed_here = [name for layer in layers for name in layer.inputs]
    inputs = tuple(dict.fromkeys(name for name in needed_here if name not in made))
    # The outputs are in the order of their computation: ncnn releases a blob after its last use.
    outputs = tuple(name for name in made if name in needed_later) or (made[-1],)
    reach, scale = dict.fromkeys(inputs, 0.0), dict.fromkeys(inputs, 1)
    for layer in layers:
        for name in layer.outputs:
            scale[name] = max(scale[one] for one in layer.inputs) * _scale(layer)
            reach[name] = max(reach[one] for one in layer.inputs) + _radius(layer) / scale[name]
    (larger,) = {scale[name] for name in outputs}
    return Stage(inputs, outputs, math.ceil(max(reach[name] for name in outputs)), larger)


def _scale(layer: Layer) -> int:
    """Return the factor by which the layer enlarges its input; 1 for all layers but Interp."""
    return round(float(layer.parameters["1"])) if layer.kind == "Interp" else 1


def _radius(layer: Layer) -> int:
    """Return how many pixels on each side a convolution reads beyond its output; 0 for other layers."""
    return int(layer.parameters["1"]) // 2 if layer.kind == "Convolution" else 0
