"""One file from end to end, frame by frame or page by page: decode, run the network tile by tile, resample,
encode.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from domain.errors import InvalidImage
from domain.sizing import Caps, Size
from workers.engine.alpha import bleed_colour, restore_flat
from workers.engine.codecs.decode_frames import read_frames
from workers.engine.codecs.encode import encode
from workers.engine.codecs.encode_frames import encode_frames
from workers.engine.codecs.metadata import apply_policy
from workers.engine.errors import EngineCancelled
from workers.engine.heartbeat import heartbeats
from workers.engine.inference.tiles import join_tiles, plan_tiles
from workers.engine.options import MetadataPolicy
from workers.engine.resample import resample

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from domain.formats import ImageFormat
    from domain.sizing import Sizing
    from workers.engine.arrays import Floats, Pixels, Pixels16
    from workers.engine.codecs.decode import DecodedImage
    from workers.engine.codecs.decode_frames import Frames
    from workers.engine.codecs.metadata import Metadata
    from workers.engine.inference.loaded_model import LoadedModel
    from workers.engine.inference.network import LoadedNetwork
    from workers.engine.inference.tiles import Plan, Tile

    OnProgress = Callable[[int, int], None]
    Cancelled = Callable[[], bool]
    Heartbeat = Callable[[], None]


@dataclass(frozen=True)
class Upscaled:
    """The sizes and the format of a finished job."""

    original: Size
    result: Size
    image_format: ImageFormat


def upscale_file(
    source: Path,
    target: Path,
    sizing: Sizing,
    *,
    caps: Caps,
    model: LoadedModel,
    tile_side: int,
    threads: int,
    on_progress: OnProgress,
    cancelled: Cancelled,
    on_heartbeat: Heartbeat = lambda: None,
    metadata: MetadataPolicy = MetadataPolicy.KEEP,
) -> Upscaled:
    """Write the enlarged image to ``target``, in the format of ``source`` and in exactly the requested size.

    All frames of an animation and all pages of a TIFF are enlarged: the requested size is that of the first
    one, and the others grow by the same factor. The result's bytes depend on the image, the sizing, the model
    and the tile side, never on ``threads``.

    ``on_progress(done, total)``, in tiles or stages of tiles, is called before the first and after each.
    ``on_heartbeat()`` is called during long steps before and after them, from another thread.
    Raise InvalidImage for an image that cannot be read or written, EngineCancelled once ``cancelled()``
    returns True, DeviceFault, OSError.
    """
    with heartbeats(on_heartbeat, caps.max_pixels):  # the size is not known yet
        frames = read_frames(source, caps)
    image_format = frames.encoding.image_format
    originals = frames.sizes
    results = sizing.results(originals)
    # The encoder would check the sizes only after minutes of wasted work.
    _check_results(results, image_format, caps)
    original, result = originals[0], results[0]
    network = model.network_for(max(result.width / original.width, result.height / original.height))
    # Threads that share the cells of a tile need no second tile, which would need its own memory.
    at_once = 1 if network.works_in_stages else threads
    plans = [
        plan_tiles(*size, tile=tile_side, pad=model.model.pad, feather=model.model.feather)
        for size in originals
    ]
    with (
        ThreadPoolExecutor(at_once, thread_name_prefix="tile") as pool,
        closing(
            _upscaled_images(
                frames, plans, results, network, pool, at_once, on_progress, on_heartbeat, cancelled, metadata
            )
        ) as images,
    ):
        if len(plans) == 1:
            image, notes = next(images)
            encode(image, frames.encoding, notes, target)
        else:
            encode_frames(images, frames.encoding, frames.timing, target)
    return Upscaled(original, result, image_format)


def _check_results(results: Sequence[Size], image_format: ImageFormat, caps: Caps) -> None:
    """Raise InvalidImage if a result has too long a side, or all together have too many pixels.

    The limits are the caps and those of the format.
    """
    allowed = caps.for_format(image_format)
    if max(map(max, results)) > allowed.max_side:
        place = "in this format " if allowed != caps else ""
        raise InvalidImage(f"A result {place}can have at most {allowed.max_side:,} pixels on a side.")
    if sum(result.pixels for result in results) > allowed.max_pixels:
        together = "" if len(results) == 1 else " in all its frames or pages"
        raise InvalidImage(f"A result can have at most {allowed.max_pixels:,} pixels{together}.")


def _upscaled_images(
    frames: Frames,
    plans: Sequence[Plan],
    results: Sequence[Size],
    network: LoadedNetwork,
    pool: ThreadPoolExecutor,
    at_once: int,
    on_progress: OnProgress,
    on_heartbeat: Heartbeat,
    cancelled: Cancelled,
    metadata: MetadataPolicy,
) -> Generator[tuple[Image.Image | Pixels16, Metadata]]:
    """Yield the enlarged images one by one with their metadata, and send heartbeats while the encoder works."""
    scale = network.network.scale
    progress = _Progress(sum(len(plan.tiles) for plan in plans), network.stages_per_tile, on_progress)

    def after_stage() -> None:
        """Count a stage. Raise EngineCancelled if the job is cancelled."""
        if cancelled():
            raise EngineCancelled
        progress.stage_done()

    network.after_stage = after_stage
    for original, plan, result in zip(frames.images(), plans, results, strict=True):
        outputs = _tile_outputs(
            original,
            plan,
            network,
            pool,
            at_once,
            progress,
            on_heartbeat,
            cancelled,
            neutral=original.is_neutral if frames.neutral is None else frames.neutral,
        )
        larger = Size(original.size.width * scale, original.size.height * scale)
        image = _assemble(resample(join_tiles(plan, outputs, scale), larger, result), result, original)
        if cancelled():
            raise EngineCancelled
        with heartbeats(on_heartbeat, result.pixels):
            yield image, apply_policy(original.metadata, metadata)


class _Progress:
    """Counts the finished stages of all tiles from any thread; the count never decreases.

    A network that works in stages has one tile in progress at a time; with any other network only
    ``tile_done`` is called.
    """

    def __init__(self, tiles: int, stages_per_tile: int, on_progress: OnProgress) -> None:
        self._total = tiles * stages_per_tile
        self._stages_per_tile = stages_per_tile
        self._on_progress = on_progress
        self._tile_stages = 0
        self._extra_stages = 0
        self._lock = threading.Lock()

    def report(self) -> None:
        """Call ``on_progress`` with the stages done and their total number."""
        with self._lock:
            self._on_progress(self._tile_stages + self._extra_stages, self._total)

    def stage_done(self) -> None:
        """Count a stage of a tile in progress, at most all but its last, and report."""
        with self._lock:
            # The last stage is counted with the tile, and a tile with transparency runs through the network
            # twice.
            self._extra_stages = min(self._extra_stages + 1, self._stages_per_tile - 1)
        self.report()

    def tile_done(self) -> None:
        """Count all stages of a tile instead of those of the tiles in progress, and report."""
        with self._lock:
            self._tile_stages += self._stages_per_tile
            self._extra_stages = 0
        self.report()


def default_threads() -> int:
    """Return the number of processors of this process, at most four: each thread needs its own memory."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 4)


def _tile_outputs(
    original: DecodedImage,
    plan: Plan,
    network: LoadedNetwork,
    pool: ThreadPoolExecutor,
    at_once: int,
    progress: _Progress,
    on_heartbeat: Heartbeat,
    cancelled: Cancelled,
    *,
    neutral: bool,
) -> Iterator[Floats]:
    """Yield the enlarged tiles in the plan's order, with ``at_once`` in progress and one more waiting.

    Fill transparent pixels first, with heartbeats. Report the progress once before the first tile and after each tile.
    Before each tile, raise EngineCancelled if the job is cancelled. When the iteration ends early, for this or another
    reason, tiles that have not started are dropped; those in progress still run to their end. An error of a tile is
    raised when its turn comes.
    """
    tiles = plan.tiles
    with heartbeats(on_heartbeat, original.size.pixels):
        upscale_tile = partial(
            _upscale_tile,
            _fill_transparent(original),
            network=network,
            neutral=neutral,
        )
    waiting = deque(tiles)
    running = deque(pool.submit(upscale_tile, waiting.popleft()) for _ in tiles[: at_once + 1])
    progress.report()
    try:
        for _ in tiles:
            if cancelled():
                raise EngineCancelled
            output = running.popleft().result()
            if waiting:
                running.append(pool.submit(upscale_tile, waiting.popleft()))
            progress.tile_done()
            yield output
    finally:
        for future in running:
            future.cancel()


def _fill_transparent(original: DecodedImage) -> Pixels:
    """Return the pixels with colours under transparent ones replaced by those of their neighbours.

    Alpha stays. Without alpha, return the pixels themselves and no copy.
    """
    if not original.has_alpha:
        return original.pixels
    colour, alpha = original.pixels[..., :-1], original.pixels[..., -1]
    filled = original.pixels.copy()
    filled[..., :-1] = bleed_colour(colour, alpha)
    return filled


def _upscale_tile(pixels: Pixels, tile: Tile, network: LoadedNetwork, *, neutral: bool) -> Floats:
    """Enlarge one tile: ``(H, W, C)`` of any depth in, planar ``(C, H × scale, W × scale)`` 0–1 out.

    The channels stay the same.
    """
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
    """Enlarge ``(H, W)`` to ``(1, …)``: the mean of the three output channels is exactly neutral."""
    larger: Floats = network(np.stack([gray] * 3)).mean(axis=0, keepdims=True)
    return larger


def _upscale_alpha(alpha: Floats, network: LoadedNetwork) -> Floats:
    """Upscale an alpha channel (height × width) and return it as 1 × height × width.

    Flat areas stay exactly flat. A channel with one value only does not run through the network.
    """
    scale = network.network.scale
    if alpha.min() == alpha.max():  # most tiles of most images: the network would find nothing there
        height, width = alpha.shape
        return np.full((1, height * scale, width * scale), alpha[0, 0])
    return restore_flat(_upscale_gray(alpha, network)[0], alpha, scale)[None]


def _assemble(bands: Iterator[Floats], size: Size, original: DecodedImage) -> Image.Image | Pixels16:
    """Return the bands as one image for the encoder, rounded to the depth of the original."""
    depth = original.pixels.dtype
    largest = np.iinfo(depth).max
    channels = original.pixels.shape[2]
    image: Image.Image | Pixels16
    if depth == np.uint16:
        image = np.empty((size.height, size.width, channels), np.uint16)
    else:
        image = Image.new({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels], size)
    top = 0
    for band in bands:
        # In place, because a band of a wide image is tens of megabytes and is not used again.
        np.clip(band, 0, 1, out=band)
        np.multiply(band, largest, out=band)
        np.add(band, np.float32(0.5), out=band)
        rounded = band.astype(depth).transpose(1, 2, 0)
        if isinstance(image, np.ndarray):
            image[top : top + len(rounded)] = rounded
        else:
            rows = rounded[..., 0] if channels == 1 else rounded
            image.paste(Image.fromarray(np.ascontiguousarray(rows)), (0, top))
        top += len(rounded)
    assert top == size.height
    return image
