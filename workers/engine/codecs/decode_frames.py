"""Read a file that holds several pictures: the frames of an animation, or the pages of a TIFF.

Everything is read twice: first to know that all of it can be, and what the frames have in common; then, frame
by frame, to be worked on. So only one frame is in memory at a time, and a fault at the end costs no work.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from domain.errors import InvalidImage
from domain.formats import MAX_TIFF_DIRECTORIES, TIFF_SUBFILE_TYPE, ImageFormat, is_tiff_page
from domain.sizing import Size
from workers.engine.codecs.decode import decode, decode_frame, decoding_limits, encoding_of, open_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from PIL import Image

    from domain.sizing import Caps
    from workers.engine.codecs.decode import DecodedImage, Encoding

CHANNELS_WITH_ALPHA = frozenset({2, 4})


@dataclass(frozen=True)
class Timing:
    """When which frame of an animation is to be seen."""

    milliseconds: tuple[float, ...]
    loop: int | None  # as the format counts, 0 for ever; None where nothing is said
    hidden_first: bool = False  # a PNG's picture for programs that know no animations


@dataclass(frozen=True)
class Frames:
    """The pictures of one file. ``images()`` reads them anew, in turn; raises PictureError.

    ``timing`` is None for a single picture and for pages. The frames of an animation have one size, and the
    same channels; if all show nothing but gray, ``neutral``. Each page is what it is, and None says so.
    """

    sizes: tuple[Size, ...]
    encoding: Encoding
    images: Callable[[], Iterator[DecodedImage]]
    timing: Timing | None = None
    neutral: bool | None = None


def read_frames(path: Path, caps: Caps) -> Frames:
    """All pictures in this file, each upright and composed as it is to be seen. Raises PictureError, OSError.

    More than ``caps`` or the format allow together are not read. Of a JPEG, which may hide others behind it
    (MPO), the first alone is the picture.
    """
    content = path.read_bytes()
    with decoding_limits(caps):
        image = open_image(content)
        encoding = encoding_of(image, content)
        positions = _positions(image, encoding.image_format)
        if len(positions) > 1:
            _check_pixels(image, positions, caps)
            if image.format == "PNG":
                open_image(content).verify()  # loading forgives a wrong checksum
    if len(positions) == 1:
        decoded = decode(path, caps)
        return Frames((decoded.size,), decoded.encoding, lambda: iter((decoded,)))
    if encoding.image_format is ImageFormat.TIFF:
        sizes = tuple(decoded.size for decoded, _ in _pages(content, encoding, positions, caps))
        return Frames(
            sizes, encoding, lambda: (decoded for decoded, _ in _pages(content, encoding, positions, caps))
        )
    return _animation(content, encoding, positions, caps)


def _positions(image: Image.Image, image_format: ImageFormat) -> Sequence[int]:
    """Where in the file the pictures are, by Pillow's count. Nothing is decoded."""
    if image_format is ImageFormat.TIFF:
        positions = [index for index, is_page in enumerate(_directories(image)) if is_page or index == 0]
    elif image_format.max_frames > 1:
        positions = list(range(min(getattr(image, "n_frames", 1), image_format.max_frames + 1)))
    else:
        return [0]
    if len(positions) > image_format.max_frames:
        kind, unit = ("TIFF", "pages") if image_format is ImageFormat.TIFF else ("animation", "frames")
        raise InvalidImage(f"The {kind} has more than {image_format.max_frames} {unit}.")
    return positions


def _directories(image: Image.Image) -> Iterator[bool]:
    """Of each of a TIFF's directories, whether it is a page."""
    for index in range(MAX_TIFF_DIRECTORIES):
        try:
            image.seek(index)
        except EOFError:
            return
        yield is_tiff_page(image.tag_v2.get(TIFF_SUBFILE_TYPE, 0))  # type: ignore[attr-defined]
    raise InvalidImage("The TIFF consists of too many pieces.")


def _check_pixels(image: Image.Image, positions: Sequence[int], caps: Caps) -> None:
    pixels = 0
    for position in positions:
        if image.format == "TIFF":  # other frames share a canvas, and going there would decode them
            image.seek(position)
        pixels += Size(*image.size).pixels
    if pixels > caps.max_pixels:
        raise InvalidImage(_too_many(caps))


def _too_many(caps: Caps) -> str:
    return f"The picture has more than {caps.max_pixels:,} pixels in all its frames or pages."


def _pages(
    content: bytes, encoding: Encoding, positions: Sequence[int], caps: Caps
) -> Iterator[tuple[DecodedImage, float]]:
    """Each picture, and for how many milliseconds it is to be seen."""
    with decoding_limits(caps):
        image = open_image(content)
        if image.format == "PNG" and (exif := _exif_of_png(content)):
            image.info["exif"] = exif
    # Pages are of different sizes, and known by now; a GIF's canvas grows with its frames.
    frame_count = 1 if image.format == "TIFF" else len(positions)
    for position in positions:
        with decoding_limits(caps, frame_count):
            if image.format == "TIFF" and position != image.tell():
                image.info.clear()  # Pillow lets a page inherit the colour profile of the one before
            image.seek(position)
            if Size(*image.size).pixels * frame_count > caps.max_pixels:
                raise InvalidImage(_too_many(caps))
            decoded = decode_frame(image, encoding)
            milliseconds = float(image.info.get("duration", 0))
        yield decoded, milliseconds


def _exif_of_png(content: bytes) -> bytes | None:
    """Also where it stands behind the frames: Pillow would find it there, and turn the last one alone."""
    position = 8
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == b"eXIf":
            return b"Exif\0\0" + content[position + 8 : position + 8 + length]
        if kind == b"IEND":  # what follows is no part of the picture
            return None
        position += 12 + length
    return None


def _animation(content: bytes, encoding: Encoding, positions: Sequence[int], caps: Caps) -> Frames:
    channels, size, neutral = 1, None, True
    durations = []
    for decoded, milliseconds in _pages(content, encoding, positions, caps):
        size = size or decoded.size
        channels = _common_channels(channels, decoded.pixels.shape[2])
        neutral = neutral and decoded.is_neutral
        durations.append(milliseconds)
    assert size is not None
    with decoding_limits(caps):
        image = open_image(content)
    canvas = size

    def images() -> Iterator[DecodedImage]:
        for decoded, _ in _pages(content, encoding, positions, caps):
            yield _to_common_layout(decoded, canvas, channels)

    return Frames(
        (canvas,) * len(positions),
        encoding,
        images,
        Timing(tuple(durations), image.info.get("loop"), bool(getattr(image, "default_image", False))),
        neutral,
    )


def _common_channels(channels: int, other: int) -> int:
    """How many channels hold what either needs."""
    alpha = bool(CHANNELS_WITH_ALPHA & {channels, other})
    return (3 if max(channels, other) >= 3 else 1) + alpha  # noqa: PLR2004


def _to_common_layout(decoded: DecodedImage, canvas: Size, channels: int) -> DecodedImage:
    """The same in so many channels; what a GIF's frame shows beyond the canvas is cut away, as in browsers."""
    pixels = decoded.pixels[: canvas.height, : canvas.width]
    if pixels.shape[2] == channels:
        return replace(decoded, pixels=pixels)
    colours = pixels[..., :-1] if decoded.has_alpha else pixels
    parts = [np.broadcast_to(colours, (*colours.shape[:2], 3)) if channels > 2 else colours]  # noqa: PLR2004
    if channels in CHANNELS_WITH_ALPHA:
        opaque = np.full_like(pixels[..., :1], np.iinfo(pixels.dtype).max)
        parts.append(pixels[..., -1:] if decoded.has_alpha else opaque)
    return replace(decoded, pixels=np.concatenate(parts, axis=2))
