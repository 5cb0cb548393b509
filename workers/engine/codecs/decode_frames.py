"""Decode an image file of any format, with all frames of an animation and all pages of a TIFF.

A file of one image goes to ``decode``. Of several, everything is decoded twice: first to check that all frames can be read and what they have in common, then
frame by frame for the upscaling. So only one frame is in memory at a time, and a fault in the last frame
costs no work.
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
    """The display times of an animation's frames."""

    milliseconds: tuple[float, ...]
    loop: int | None  # as in the format: 0 means endless; None if the file does not say
    hidden_first: bool = False  # a PNG's image for programs without animations


@dataclass(frozen=True)
class Frames:
    """The images of one file. ``images()`` decodes them again, in order, and raises InvalidImage.

    ``timing`` is None for a single image and for pages. The frames of an animation have one size and the same
    channels; ``neutral`` is True if all of them are gray. It is None if each image decides for itself.
    """

    sizes: tuple[Size, ...]
    encoding: Encoding
    images: Callable[[], Iterator[DecodedImage]]
    timing: Timing | None = None
    neutral: bool | None = None


def read_frames(path: Path, caps: Caps) -> Frames:
    """Check all images in this file and return them, each upright and composed as it is displayed.

    A file whose images together exceed ``caps`` or the format's limit is not read. Of a JPEG, which may have
    more images behind the first (MPO), only the first is used. Raise InvalidImage, OSError.
    """
    content = path.read_bytes()
    with decoding_limits(caps):
        image = open_image(content)
        encoding = encoding_of(image, content)
        positions = _positions(image, encoding.image_format)
        if len(positions) > 1:
            _check_pixels(image, positions, caps)
            if image.format == "PNG":
                open_image(content).verify()  # loading ignores a wrong checksum
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
    """Return the positions of the images in the file, as Pillow counts, without decoding them."""
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
    """Yield for each directory of a TIFF whether it is a page."""
    for index in range(MAX_TIFF_DIRECTORIES):
        try:
            image.seek(index)
        except EOFError:
            return
        yield is_tiff_page(image.tag_v2.get(TIFF_SUBFILE_TYPE, 0))  # type: ignore[attr-defined]
    raise InvalidImage("The TIFF has too many directories.")


def _check_pixels(image: Image.Image, positions: Sequence[int], caps: Caps) -> None:
    """Raise InvalidImage if the frames at these positions have too many pixels together.

    Seek a TIFF to each page to read its size; frames of other formats all have the canvas's.
    """
    pixels = 0
    for position in positions:
        if image.format == "TIFF":  # frames of other formats share a canvas, and a seek would decode them
            image.seek(position)
        pixels += Size(*image.size).pixels
    if pixels > caps.max_pixels:
        raise InvalidImage(_too_many(caps))


def _too_many(caps: Caps) -> str:
    """Return the error message for frames with more pixels than the caps allow."""
    return f"The image has more than {caps.max_pixels:,} pixels in all its frames or pages."


def _pages(
    content: bytes, encoding: Encoding, positions: Sequence[int], caps: Caps
) -> Iterator[tuple[DecodedImage, float]]:
    """Yield each image and its display time in milliseconds."""
    with decoding_limits(caps):
        image = open_image(content)
        if image.format == "PNG" and (exif := _exif_of_png(content)):
            image.info["exif"] = exif
    # Pages differ in size, and the sizes are known by now; a GIF's canvas grows with its frames.
    frame_count = 1 if image.format == "TIFF" else len(positions)
    for position in positions:
        with decoding_limits(caps, frame_count):
            if image.format == "TIFF" and position != image.tell():
                image.info.clear()  # Pillow would keep the colour profile of the page before
            image.seek(position)
            if Size(*image.size).pixels * frame_count > caps.max_pixels:
                raise InvalidImage(_too_many(caps))
            decoded = decode_frame(image, encoding)
            milliseconds = float(image.info.get("duration", 0))
        yield decoded, milliseconds


def _exif_of_png(content: bytes) -> bytes | None:
    """Return the data of the first EXIF chunk with the prefix that Pillow expects, or None without a chunk.

    The chunk may come after the frames; Pillow would then apply it only to the last frame.
    Raise struct.error for a damaged file.
    """
    position = 8
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == b"eXIf":
            return b"Exif\0\0" + content[position + 8 : position + 8 + length]
        if kind == b"IEND":  # data after IEND do not belong to the image
            return None
        position += 12 + length
    return None


def _animation(content: bytes, encoding: Encoding, positions: Sequence[int], caps: Caps) -> Frames:
    """Return the frames of an animation, all with the size of the first and the same channels.

    The content is decoded here once for the layout and the durations, and again by each call of ``images``,
    so that only one frame is in memory.
    """
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
    """Return the number of channels that can hold both."""
    alpha = bool(CHANNELS_WITH_ALPHA & {channels, other})
    return (3 if max(channels, other) >= 3 else 1) + alpha  # noqa: PLR2004


def _to_common_layout(decoded: DecodedImage, canvas: Size, channels: int) -> DecodedImage:
    """Return the image with this number of channels, cut to the canvas.

    A GIF's frame may reach beyond the canvas; browsers cut it as well.
    """
    pixels = decoded.pixels[: canvas.height, : canvas.width]
    if pixels.shape[2] == channels:
        return replace(decoded, pixels=pixels)
    colours = pixels[..., :-1] if decoded.has_alpha else pixels
    parts = [np.broadcast_to(colours, (*colours.shape[:2], 3)) if channels > 2 else colours]  # noqa: PLR2004
    if channels in CHANNELS_WITH_ALPHA:
        opaque = np.full_like(pixels[..., :1], np.iinfo(pixels.dtype).max)
        parts.append(pixels[..., -1:] if decoded.has_alpha else opaque)
    return replace(decoded, pixels=np.concatenate(parts, axis=2))
