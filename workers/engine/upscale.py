"""One picture from file to file: decode, network tile by tile, exact size, encode."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from domain.errors import PictureError
from domain.sizing import Caps, Size
from workers.engine.alpha import bled, keep_flat
from workers.engine.encoding import encode
from workers.engine.errors import EngineCancelled
from workers.engine.heartbeat import still_working
from workers.engine.pictures import Picture, decode
from workers.engine.resample import resampled
from workers.engine.tiles import join, plan_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from domain.formats import PictureFormat
    from domain.sizing import Sizing
    from workers.engine.arrays import Floats, Pixels
    from workers.engine.loaded import LoadedModel
    from workers.engine.network import LoadedNetwork
    from workers.engine.tiles import Plan, Tile

    OnTile = Callable[[int, int], None]
    Cancelled = Callable[[], bool]


@dataclass(frozen=True)
class Upscaled:
    original: Size
    result: Size
    picture_format: PictureFormat


def upscale_file(
    source: Path,
    target: Path,
    sizing: Sizing,
    *,
    caps: Caps,
    model: LoadedModel,
    tile_side: int,
    threads: int,
    on_tile: OnTile,
    cancelled: Cancelled,
) -> Upscaled:
    """Write the larger picture to ``target``, in the format of ``source`` and of exactly the asked size.

    The result's bytes depend on the picture, the sizing, the model and the tile side, never on ``threads``.
    ``on_tile(done, total)`` is called before the first tile and after each, and again with the same numbers,
    from another thread, during a slow tile and while a long step before or after the tiles goes on. Raises
    PictureError for a picture that cannot be read or written, EngineCancelled once ``cancelled()`` says so,
    DeviceFault, OSError.
    """
    picture = decode(source, caps)
    original = picture.size
    result = sizing.result(original)
    # Now rather than by the encoder, after minutes of work for nothing.
    _check_result(result, picture.encoding.picture_format, caps)
    network = model.network_for(max(result.width / original.width, result.height / original.height))
    scale = network.network.scale
    plan = plan_tiles(*original, tile=tile_side, pad=model.model.pad, feather=model.model.feather)
    with ThreadPoolExecutor(threads, thread_name_prefix="tile") as pool:
        outputs = _tile_outputs(picture, plan, network, pool, threads, on_tile, cancelled)
        bands = resampled(
            join(plan, outputs, scale), Size(original.width * scale, original.height * scale), result
        )
        image = _assembled(bands, result, picture)
    if cancelled():
        raise EngineCancelled
    tiles = len(plan.tiles)
    with still_working(lambda: on_tile(tiles, tiles), result.pixels):
        encode(image, picture.encoding, picture.metadata, target)
    return Upscaled(original, result, picture.encoding.picture_format)


def _check_result(result: Size, picture_format: PictureFormat, caps: Caps) -> None:
    allowed = caps.for_format(picture_format)
    if max(result) > allowed.max_side:
        where = "in this format " if allowed != caps else ""
        raise PictureError(f"A result {where}can have at most {allowed.max_side:,} pixels on a side.")
    if result.pixels > allowed.max_pixels:
        raise PictureError(f"A result can have at most {allowed.max_pixels:,} pixels.")


def default_threads() -> int:
    """As many tiles at once as this process has processors; each takes its own memory, so at most four."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 4)


def _tile_outputs(
    picture: Picture,
    plan: Plan,
    network: LoadedNetwork,
    pool: ThreadPoolExecutor,
    threads: int,
    on_tile: OnTile,
    cancelled: Cancelled,
) -> Iterator[Floats]:
    """The larger tiles in the plan's order; as many at once as there are threads, and one more waiting."""
    tiles = plan.tiles
    done = 0

    def after_stage() -> None:
        if cancelled():
            raise EngineCancelled
        on_tile(done, len(tiles))

    network.after_stage = after_stage
    with still_working(lambda: on_tile(0, len(tiles)), picture.size.pixels):
        upscale_tile = partial(
            _upscale_tile,
            _with_colour_under_transparency(picture),
            network=network,
            neutral=picture.is_neutral,
        )
    waiting = deque(tiles)
    running = deque(pool.submit(upscale_tile, waiting.popleft()) for _ in tiles[: threads + 1])
    on_tile(0, len(tiles))
    try:
        for _ in tiles:
            if cancelled():
                raise EngineCancelled
            output = running.popleft().result()
            done += 1
            if waiting:
                running.append(pool.submit(upscale_tile, waiting.popleft()))
            on_tile(done, len(tiles))
            yield output
    finally:
        for future in running:
            future.cancel()


def _with_colour_under_transparency(picture: Picture) -> Pixels:
    if not picture.has_alpha:
        return picture.pixels
    colour, alpha = picture.pixels[..., :-1], picture.pixels[..., -1]
    filled = picture.pixels.copy()
    filled[..., :-1] = bled(colour, alpha)
    return filled


def _upscale_tile(pixels: Pixels, tile: Tile, network: LoadedNetwork, *, neutral: bool) -> Floats:
    """``(H, W, C)`` of any kind in; planar ``(C, H × scale, W × scale)`` 0–1 out, with the same channels."""
    largest = np.iinfo(pixels.dtype).max
    channels = np.ascontiguousarray(tile.cut(pixels).transpose(2, 0, 1), dtype=np.float32) / np.float32(
        largest
    )
    colours = 3 if len(channels) >= 3 else 1  # noqa: PLR2004
    if neutral:
        larger = np.repeat(_upscale_gray(channels[0], network), colours, axis=0)
    else:
        larger = network(channels[:colours])
    if len(channels) == colours:
        return larger
    return np.concatenate((larger, _upscale_alpha(channels[-1], network)))


def _upscale_gray(gray: Floats, network: LoadedNetwork) -> Floats:
    """``(H, W)`` → ``(1, …)``: gray in three channels goes in, and their mean is exactly neutral."""
    larger: Floats = network(np.stack([gray] * 3)).mean(axis=0, keepdims=True)
    return larger


def _upscale_alpha(alpha: Floats, network: LoadedNetwork) -> Floats:
    scale = network.network.scale
    if alpha.min() == alpha.max():  # most tiles of most pictures: nothing there for a network to find
        height, width = alpha.shape
        return np.full((1, height * scale, width * scale), alpha[0, 0])
    return keep_flat(_upscale_gray(alpha, network)[0], alpha, scale)[None]


def _assembled(bands: Iterator[Floats], size: Size, picture: Picture) -> Image.Image:
    """The bands, rounded to the depth of the original, in one picture for the encoder."""
    depth = picture.pixels.dtype
    largest = np.iinfo(depth).max
    channels = picture.pixels.shape[2]
    mode = "I;16" if depth == np.uint16 else {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    image = Image.new(mode, size)
    top = 0
    for band in bands:
        # In place: a band of a wide picture is tens of megabytes, and nobody else needs it any more.
        np.clip(band, 0, 1, out=band)
        np.multiply(band, largest, out=band)
        np.add(band, np.float32(0.5), out=band)
        rounded = band.astype(depth).transpose(1, 2, 0)
        if channels == 1:
            rounded = rounded[..., 0]
        image.paste(Image.fromarray(np.ascontiguousarray(rounded)), (0, top))
        top += rounded.shape[0]
    assert top == size.height
    return image
