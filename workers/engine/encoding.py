"""Write a result in the format of its original, all of it or nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from PIL import Image, PngImagePlugin

from domain.errors import PictureError
from domain.formats import PictureFormat
from workers.engine.protocol import unfinished

if TYPE_CHECKING:
    from pathlib import Path

    from workers.engine.metadata import Metadata
    from workers.engine.pictures import Encoding

JPEG_QUALITY = 95
WEBP_QUALITY = 95
PNG_COMPRESSION = 6  # zlib's own balance; 9 takes several times as long for a percent or two
MAX_WEBP_SIDE = 16_383  # 14 bits in the format
MAX_JPEG_SEGMENT = 65_533  # bytes of one marker segment
GIF_COLOURS = 255  # and one index for what is transparent
HALF_OPAQUE = 128


def encode(image: Image.Image, encoding: Encoding, metadata: Metadata, target: Path) -> None:
    """Write ``image`` (L, LA, RGB, RGBA or I;16) to ``target``, which never exists half-written.

    Raises PictureError for what the format cannot hold, OSError when the disk does not take it.
    """
    if encoding.picture_format is PictureFormat.WEBP and max(image.size) > MAX_WEBP_SIDE:
        raise PictureError(f"A WebP picture can have at most {MAX_WEBP_SIDE:,} pixels on a side.")
    if encoding.picture_format is PictureFormat.GIF:
        image = _with_palette(image)
    unfinished_file = unfinished(target)
    try:
        image.save(
            unfinished_file, format=encoding.picture_format.value, **_save_options(image, encoding, metadata)
        )
        os.replace(unfinished_file, target)  # noqa: PTH105 — the atomic step, by its own name
    except BaseException:
        with suppress(FileNotFoundError):
            unfinished_file.unlink()
        raise


def _save_options(image: Image.Image, encoding: Encoding, metadata: Metadata) -> dict[str, Any]:
    match encoding.picture_format:
        case PictureFormat.JPEG:
            return {
                "quality": JPEG_QUALITY,
                "subsampling": encoding.chroma_subsampling,
                "progressive": encoding.progressive,
                "icc_profile": metadata.icc_profile,
                **_given(dpi=metadata.dpi, exif=_fitting(metadata.exif), xmp=_fitting(metadata.xmp)),
            }
        case PictureFormat.PNG:
            return {
                "compress_level": PNG_COMPRESSION,
                "pnginfo": _png_text(metadata.xmp),
                **_given(dpi=metadata.dpi, exif=metadata.exif, icc_profile=metadata.icc_profile),
            }
        case PictureFormat.WEBP:
            return {
                "lossless": encoding.lossless,
                "quality": WEBP_QUALITY,
                **_given(exif=metadata.exif, xmp=metadata.xmp, icc_profile=metadata.icc_profile),
            }
        case PictureFormat.TIFF:
            return {
                "compression": "tiff_adobe_deflate",
                **_given(
                    dpi=metadata.dpi,
                    exif=metadata.exif,
                    icc_profile=metadata.icc_profile,
                    tiffinfo=_tiff_tags(metadata.xmp),
                ),
            }
        case PictureFormat.BMP:
            return _given(dpi=metadata.dpi)
        case PictureFormat.GIF:
            return _given(transparency=image.info.get("transparency"))


def _given(**options: object) -> dict[str, object]:
    """Without those that are None, which Pillow would take for values."""
    return {name: value for name, value in options.items() if value is not None}


def _fitting(segment: bytes | None) -> bytes | None:
    """Only what fits a JPEG segment: a result without a note is better than none."""
    return segment if segment is not None and len(segment) < MAX_JPEG_SEGMENT - 64 else None


def _png_text(xmp: bytes | None) -> PngImagePlugin.PngInfo | None:
    if xmp is None:
        return None
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    return info


def _tiff_tags(xmp: bytes | None) -> dict[int, bytes] | None:
    return None if xmp is None else {700: xmp}


def _with_palette(image: Image.Image) -> Image.Image:
    """As GIF holds it: up to 256 colours; a pixel that is less than half opaque is not there at all."""
    if image.mode == "L":
        return image
    if image.mode == "RGB":
        return image.quantize(GIF_COLOURS + 1)
    alpha = image.getchannel("A")
    palette = image.convert("RGB").quantize(GIF_COLOURS)
    palette.paste(GIF_COLOURS, mask=alpha.point(lambda value: 255 if value < HALF_OPAQUE else 0))
    palette.info["transparency"] = GIF_COLOURS
    return palette
