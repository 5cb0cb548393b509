"""Read pictures with 16 bits in each channel, of which Pillow keeps eight unless they are gray.

Pillow decodes the file twice, because its own unpackers take the one byte of each value or the other. So a
stranger's file meets the same decoders, checks and limits whatever its depth.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, TiffImagePlugin

from workers.engine.arrays import LARGEST_DEEP
from workers.engine.metadata import load, upright

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from workers.engine.arrays import Deep

# Pillow's words for the high bytes of big-endian values and for those of little-endian ones.
_FIRST_BYTE, _SECOND_BYTE = "16B", "16L"

# Values of tags (TIFF 6.0).
_WHITE_IS_ZERO = 0
_SEPARATE_PLANES = 2
_PREMULTIPLIED_ALPHA = 1


def is_deep(image: ImageFile) -> bool:
    """Whether a picture, open and not loaded, has 16 bits in each channel and can keep them here.

    Colours cannot in an animation, whose frames Pillow lays over each other with 8 bits; nor in a compressed TIFF
    that holds one colour after the other, whose second bytes are out of its reach.
    """
    if image.mode.startswith("I;16"):
        return True
    if image.mode not in {"RGB", "RGBA"} or not image.tile:
        return False
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION)
        return set(tags.get(TiffImagePlugin.BITSPERSAMPLE, ())) == {16} and not (
            planes == _SEPARATE_PLANES and image.tile[0].codec_name == "libtiff"
        )
    return (
        image.format == "PNG"
        and not image.is_animated  # type: ignore[attr-defined]
        and str(image.tile[0].args).endswith(";16B")
    )


def deep_pixels(image: ImageFile) -> Deep:
    """``(H, W, C)``, upright, of the frame or page at which a deep picture stands, which is loaded then.

    It was opened from memory. Raises whatever Pillow does.
    """
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        pixels = _gray(image, tags)
    elif _rawmode(image) == "LA;16B":
        # Four bytes make a pixel, as in 8-bit RGBA.
        pixels = _loaded(image, "RGBA").view(">u2").astype(np.uint16)
    else:
        pixels = _colour(image)
        if tags.get(TiffImagePlugin.EXTRASAMPLES) == (_PREMULTIPLIED_ALPHA,):
            pixels = _straight(pixels)
    invisible = image.info.get("transparency")
    return pixels if invisible is None else _with_alpha(pixels, invisible)


def _gray(image: ImageFile, tags: Mapping[int, Any]) -> Deep:
    load(image)
    gray: Deep = np.asarray(upright(image)).astype(np.uint16)[..., None]  # some files are big-endian
    if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,):
        gray = gray * np.uint16(16) + gray // np.uint16(256)  # 4,095 becomes 65,535
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        gray = np.uint16(LARGEST_DEEP) - gray
    return gray


def _colour(image: ImageFile) -> Deep:
    assert isinstance(image.fp, io.BytesIO)
    again = Image.open(io.BytesIO(image.fp.getvalue()), formats=(image.format or "",))
    again.seek(image.tell())
    kind = "RGBX" if _rawmode(image).startswith("RGBX") else image.mode
    order = _byte_order(image)
    first = _loaded(image, f"{kind};{_FIRST_BYTE}")
    both = np.empty((*first.shape, 2), np.uint8)
    both[..., 0] = first
    del first  # before the second is there as well
    both[..., 1] = _loaded(again, f"{kind};{_SECOND_BYTE}")
    return both.view(order)[..., 0].astype(np.uint16, copy=False)


def _rawmode(image: ImageFile) -> str:
    """How the decoder is to unpack pixels; in a PNG all that its tile says, in a TIFF the first of several."""
    arguments: Any = image.tile[0].args
    rawmode: str = arguments if isinstance(arguments, str) else arguments[0]
    return rawmode


def _loaded(image: ImageFile, rawmode: str) -> NDArray[np.uint8]:
    image.tile = [tile._replace(args=_with_rawmode(tile.args, rawmode)) for tile in image.tile]
    load(image)
    return np.asarray(upright(image))


def _with_rawmode(arguments: Any, rawmode: str) -> Any:
    if isinstance(arguments, str):
        return rawmode
    before, *others = arguments
    if len(before) == 1:  # a TIFF in which each tile is of one channel
        rawmode = before.upper() + rawmode[rawmode.index(";") :]
    return (rawmode, *others)


def _byte_order(image: ImageFile) -> str:
    if image.format != "TIFF":
        return ">u2"
    if image.tile[0].codec_name == "libtiff":
        return "=u2"
    prefix: bytes = image.tag_v2.prefix  # type: ignore[attr-defined]
    return "<u2" if prefix == b"II" else ">u2"


def _straight(pixels: Deep) -> Deep:
    """The colours before they were multiplied with alpha."""
    alpha = pixels[..., 3:]
    result = pixels.copy()
    colour = pixels[..., :3] * np.float32(LARGEST_DEEP) / np.maximum(alpha, 1)
    result[..., :3] = np.rint(np.minimum(colour, LARGEST_DEEP))
    return result


def _with_alpha(pixels: Deep, invisible: int | tuple[int, int, int]) -> Deep:
    """With one more channel: transparent where the pixel is of this one colour, opaque elsewhere."""
    opaque = (pixels != np.asarray(invisible)).any(axis=2, keepdims=True)
    return np.concatenate((pixels, opaque.astype(np.uint16) * np.uint16(LARGEST_DEEP)), axis=2)
