"""Decode images with 16 bits in each channel, of which Pillow keeps eight unless the image is gray.

Pillow decodes the file twice, because each of its unpackers reads one of a value's two bytes; or once for
each channel, if a TIFF stores the channels separately. So a hostile file meets the same decoders, checks and
limits at any depth.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, TiffTags

from workers.engine.arrays import MAX_16BIT
from workers.engine.codecs.metadata import apply_orientation, load_pixels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from workers.engine.arrays import Pixels16

# Pillow's raw modes for the high bytes of big-endian values and of little-endian values.
_HIGH_BYTES, _LOW_BYTES = "16B", "16L"

# Values of tags (TIFF 6.0).
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_SEPARATE_PLANES = 2
_PREMULTIPLIED_ALPHA = 1


_PLANE_TAGS = (
    TiffImagePlugin.IMAGEWIDTH,
    TiffImagePlugin.IMAGELENGTH,
    TiffImagePlugin.COMPRESSION,
    TiffImagePlugin.PREDICTOR,
    TiffImagePlugin.ROWSPERSTRIP,
    TiffImagePlugin.TILEWIDTH,
    TiffImagePlugin.TILELENGTH,
    ExifTags.Base.Orientation,
)
_BLOCK_TAGS = {
    TiffImagePlugin.STRIPOFFSETS,
    TiffImagePlugin.STRIPBYTECOUNTS,
    TiffImagePlugin.TILEOFFSETS,
    TiffImagePlugin.TILEBYTECOUNTS,
}


def is_16bit(image: ImageFile) -> bool:
    """Return True if an opened, not loaded image has 16 bits in each channel that can be kept.

    The colours of an animation cannot: Pillow composes its frames with 8 bits.
    """
    if image.mode.startswith("I;16"):
        return True
    if image.mode not in {"RGB", "RGBA"} or not image.tile:
        return False
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        return set(tags.get(TiffImagePlugin.BITSPERSAMPLE, ())) == {16}
    return (
        image.format == "PNG"
        and not image.is_animated  # type: ignore[attr-defined]
        and str(image.tile[0].args).endswith(";16B")
    )


def pixels_16bit(image: ImageFile) -> Pixels16:
    """Return ``(H, W, C)``, upright, for the frame or page that a 16-bit image is currently at.

    The image must be opened from memory; it is loaded afterwards, with all its metadata. Raise the errors of
    Pillow.
    """
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        pixels = _gray_pixels(image, tags)
    elif _rawmode(image) == "LA;16B":
        # A pixel has four bytes, as in 8-bit RGBA.
        pixels = _load_bytes(image, "RGBA").view(">u2").astype(np.uint16)
    else:
        separate = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _SEPARATE_PLANES
        pixels = _from_planes(image, tags) if separate else _colour_pixels(image)
        if tags.get(TiffImagePlugin.EXTRASAMPLES) == (_PREMULTIPLIED_ALPHA,):
            pixels = _unpremultiply(pixels)
    transparent = image.info.get("transparency")
    return pixels if transparent is None else _with_alpha(pixels, transparent)


def _gray_pixels(image: ImageFile, tags: Mapping[int, Any]) -> Pixels16:
    """Load the page and return its values as height × width × 1, upright, with 0 as black and 65,535 as
    white. Values of 12 bits are extended to 16; inverted ones are reversed.
    """
    load_pixels(image)
    # The conversion also covers files with big-endian values.
    gray: Pixels16 = np.asarray(apply_orientation(image)).astype(np.uint16)[..., None]
    if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,):
        gray = gray * np.uint16(16) + gray // np.uint16(256)  # 4,095 becomes 65,535
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        gray = np.uint16(MAX_16BIT) - gray
    return gray


def _from_planes(image: ImageFile, tags: Mapping[int, Any]) -> Pixels16:
    """Return the pixels of a TIFF that stores each channel as a plane of its own.

    The channels are the last axis.
    """
    content, channels = _content(image), len(image.getbands())
    planes = (_single_plane_tiff(content, tags, index) for index in range(channels))
    return np.concatenate([_gray_pixels(_open_image(plane, "TIFF"), {}) for plane in planes], axis=2)


def _single_plane_tiff(content: bytes, tags: Any, index: int) -> bytes:
    """Return the same TIFF with a new directory that describes one channel as a gray image."""
    count = tags[TiffImagePlugin.SAMPLESPERPIXEL]
    new: dict[int, tuple[int, ...]] = {tag: (tags[tag],) for tag in _PLANE_TAGS if tag in tags}
    new |= {
        TiffImagePlugin.BITSPERSAMPLE: (16,),
        TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: (_BLACK_IS_ZERO,),
    }
    for tag in _BLOCK_TAGS & tags.keys():
        blocks = len(tags[tag]) // count
        new[tag] = tags[tag][index * blocks : (index + 1) * blocks]
    order = "<" if tags.prefix == b"II" else ">"
    entries, values = struct.pack(f"{order}H", len(new)), b""
    values_at = len(content) + len(entries) + 12 * len(new) + 4
    for tag, numbers in sorted(new.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) != 4:  # noqa: PLR2004  # longer or shorter values do not fit an entry
            packed, values = struct.pack(f"{order}I", values_at + len(values)), values + packed
        entries += struct.pack(f"{order}HHI", tag, TiffTags.LONG, len(numbers)) + packed
    header: bytes = tags.prefix + struct.pack(f"{order}HI", 42, len(content))
    return header + content[len(header) :] + entries + bytes(4) + values


def _content(image: ImageFile) -> bytes:
    """Return all bytes of the file from which the image was opened; it must be in memory."""
    file: Any = image.fp
    content: bytes = file.getvalue()
    return content


def _open_image(content: bytes, image_format: str) -> ImageFile:
    """Open the content in this format only. Raise UnidentifiedImageError if it has another."""
    return Image.open(io.BytesIO(content), formats=(image_format,))


def _colour_pixels(image: ImageFile) -> Pixels16:
    """Return the 16-bit values of a colour image, height × width × channels, upright.

    Pillow loads 8 bits of each value, so the file, which must be in memory, is loaded twice. ``image`` must not be loaded
    yet; afterwards it has the high bytes.
    """
    second = _open_image(_content(image), image.format or "")
    second.seek(image.tell())
    kind = "RGBX" if _rawmode(image).startswith("RGBX") else image.mode
    order = _byte_order(image)
    first = _load_bytes(image, f"{kind};{_HIGH_BYTES}")
    both = np.empty((*first.shape, 2), np.uint8)
    both[..., 0] = first
    del first  # frees memory before the second is loaded
    both[..., 1] = _load_bytes(second, f"{kind};{_LOW_BYTES}")
    return both.view(order)[..., 0].astype(np.uint16, copy=False)


def _rawmode(image: ImageFile) -> str:
    """Return the decoder's raw mode: the only argument of a PNG's tile, the first of several of a TIFF's."""
    arguments: Any = image.tile[0].args
    rawmode: str = arguments if isinstance(arguments, str) else arguments[0]
    return rawmode


def _load_bytes(image: ImageFile, rawmode: str) -> NDArray[np.uint8]:
    """Load the image with this raw mode, which selects one byte of each value, and return the bytes upright.

    Replace the mode in the image's ``tile`` list.
    """
    image.tile = [tile._replace(args=_with_rawmode(tile.args, rawmode)) for tile in image.tile]
    load_pixels(image)
    return np.asarray(apply_orientation(image))


def _with_rawmode(arguments: Any, rawmode: str) -> Any:
    """Return the decoder's arguments with this raw mode, which is the only one or the first of a tuple."""
    return rawmode if isinstance(arguments, str) else (rawmode, *arguments[1:])


def _byte_order(image: ImageFile) -> str:
    """Return NumPy's data type for the two bytes of a value: big-endian for PNG, and what a TIFF states.

    libtiff returns values in the machine's own order.
    """
    if image.format != "TIFF":
        return ">u2"
    if image.tile[0].codec_name == "libtiff":
        return "=u2"
    prefix: bytes = image.tag_v2.prefix  # type: ignore[attr-defined]
    return "<u2" if prefix == b"II" else ">u2"


def _unpremultiply(pixels: Pixels16) -> Pixels16:
    """Divide the colours of RGBA by alpha, at most to white; fully transparent pixels do not fail."""
    alpha = pixels[..., 3:]
    result = pixels.copy()
    colour = pixels[..., :3] * np.float32(MAX_16BIT) / np.maximum(alpha, 1)
    result[..., :3] = np.rint(np.minimum(colour, MAX_16BIT))
    return result


def _with_alpha(pixels: Pixels16, transparent: int | tuple[int, int, int]) -> Pixels16:
    """Add an alpha channel: transparent where the pixel has this one colour, opaque elsewhere."""
    opaque = (pixels != np.asarray(transparent)).any(axis=2, keepdims=True)
    return np.concatenate((pixels, opaque.astype(np.uint16) * np.uint16(MAX_16BIT)), axis=2)
