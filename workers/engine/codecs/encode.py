"""Encode a result in the format of its original, completely or not at all."""

from __future__ import annotations

import io
import os
import struct
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from domain.formats import ImageFormat
from workers.engine.codecs.encode_16bit import write_png, write_tiff
from workers.engine.codecs.metadata import EXIF_DIRECTORIES
from workers.engine.protocol import unfinished_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workers.engine.arrays import Pixels16
    from workers.engine.codecs.decode import Encoding
    from workers.engine.codecs.metadata import Metadata

JPEG_QUALITY = 95
WEBP_QUALITY = 95
WEBP_LOSSLESS_EFFORT = 50  # at 95, encoding takes three times as long and saves 0.15 %
PNG_COMPRESSION = 4  # zlib's default of 6 takes two to three times as long and saves 1 %
MAX_JPEG_SEGMENT = 65_533  # bytes of one marker segment
GIF_COLOURS = 256
GIF_TRANSPARENT = GIF_COLOURS - 1  # the palette index of transparent pixels
BMP_HEADER_BYTES = 108
BMP_BITFIELDS = 3
HALF_OPAQUE = 128


def encode(image: Image.Image | Pixels16, encoding: Encoding, metadata: Metadata, target: Path) -> None:
    """Write ``image`` to ``target``, which never exists half-written.

    The image is L, LA, RGB or RGBA; or, for a PNG or TIFF, an array ``(H, W, C)`` uint16. It must be within
    the limits of the format (``Caps.for_format``). Raise OSError when the disk cannot store it.
    """
    with atomic_write(target) as file:
        write(image, encoding, metadata, file)


def write(
    image: Image.Image | Pixels16, encoding: Encoding, metadata: Metadata, file: Path | io.BytesIO
) -> None:
    """Write ``image`` like ``encode``, but directly to a path or a buffer."""
    if isinstance(image, np.ndarray):
        _write_16bit(image, encoding.image_format, metadata, file)
        return
    if encoding.image_format is ImageFormat.GIF:
        image = to_palette(image)
    if encoding.image_format is ImageFormat.BMP and image.mode == "RGBA":
        content = _bmp_rgba(image)
        file.write(content) if isinstance(file, io.BytesIO) else file.write_bytes(content)
    else:
        options = save_options(image, encoding, metadata)
        image.save(file, format=encoding.image_format.value, **options)


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces ``target`` when the block ends.

    If the block fails, the file is deleted and ``target`` stays as it was.
    """
    unfinished_file = unfinished_path(target)
    try:
        yield unfinished_file
        os.replace(unfinished_file, target)  # noqa: PTH105  # os.replace is the atomic step
    except BaseException:
        with suppress(FileNotFoundError):
            unfinished_file.unlink()
        raise


def _write_16bit(
    pixels: Pixels16, image_format: ImageFormat, metadata: Metadata, file: Path | io.BytesIO
) -> None:
    """Write 16-bit pixels as PNG or TIFF to a path, which is replaced, or to an open buffer."""
    with nullcontext(file) if isinstance(file, io.BytesIO) else file.open("wb") as out:
        if image_format is ImageFormat.PNG:
            write_png(out, pixels, _png_options(metadata))
        else:
            write_tiff(out, pixels, _tiff_options(metadata))


def save_options(image: Image.Image, encoding: Encoding, metadata: Metadata) -> dict[str, Any]:
    """Return the options for Pillow to save this image."""
    match encoding.image_format:
        case ImageFormat.JPEG:
            return {
                "quality": JPEG_QUALITY,
                "subsampling": encoding.chroma_subsampling,
                "progressive": encoding.progressive,
                "icc_profile": metadata.icc_profile,
                **_without_none(
                    dpi=metadata.dpi, exif=_if_fits_jpeg(metadata.exif), xmp=_if_fits_jpeg(metadata.xmp)
                ),
            }
        case ImageFormat.PNG:
            return _png_options(metadata)
        case ImageFormat.WEBP:
            return {
                "lossless": encoding.lossless,
                # without loss, Pillow's "quality" is the effort
                "quality": WEBP_LOSSLESS_EFFORT if encoding.lossless else WEBP_QUALITY,
                **_without_none(exif=metadata.exif, xmp=metadata.xmp, icc_profile=metadata.icc_profile),
            }
        case ImageFormat.TIFF:
            return _tiff_options(metadata)
        case ImageFormat.BMP:
            return _without_none(dpi=metadata.dpi)
        case ImageFormat.GIF:
            return _without_none(transparency=image.info.get("transparency"))


def _without_none(**options: object) -> dict[str, object]:
    """Return the options without those that are None: Pillow would use None as a value."""
    return {name: value for name, value in options.items() if value is not None}


def _if_fits_jpeg(segment: bytes | None) -> bytes | None:
    """Return the segment if it fits a JPEG, else None: a result without a note is better than none."""
    return segment if segment is not None and len(segment) < MAX_JPEG_SEGMENT - 64 else None


def _png_options(metadata: Metadata) -> dict[str, object]:
    """Return Pillow's options for a PNG with this metadata; absent metadata is left out."""
    return {
        "compress_level": PNG_COMPRESSION,
        "pnginfo": _png_text(metadata.xmp),
        **_without_none(dpi=metadata.dpi, exif=metadata.exif, icc_profile=metadata.icc_profile),
    }


def _png_text(xmp: bytes | None) -> PngImagePlugin.PngInfo | None:
    """Return a text chunk with the XMP, where bytes that are not UTF-8 are replaced; None without XMP."""
    if xmp is None:
        return None
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    return info


def _tiff_options(metadata: Metadata) -> dict[str, object]:
    """Return Pillow's options for a TIFF with this metadata.

    The file is compressed with Deflate, unless it has a camera's directories, such as GPS.
    """
    tags = Image.Exif()
    if metadata.exif is not None:
        tags.load(metadata.exif)
    has_directories = any(tags.get_ifd(directory) for directory in EXIF_DIRECTORIES)
    if metadata.xmp is not None:
        tags[ExifTags.Base.XMLPacket] = metadata.xmp
    return _without_none(
        # Pillow writes a camera's directories only into uncompressed files and fails on others.
        compression=None if has_directories else "tiff_adobe_deflate",
        exif=tags,
        dpi=metadata.dpi,
        icc_profile=metadata.icc_profile,
    )


def to_palette(image: Image.Image) -> Image.Image:
    """Return the image with up to 256 colours for a GIF; pixels less than half opaque become transparent."""
    if image.mode == "L":
        return image
    if image.mode == "RGB":
        return _quantized(image, GIF_COLOURS)
    alpha = image.getchannel("A")
    result = _quantized(image.convert("RGB"), GIF_COLOURS - 1)
    result.paste(GIF_TRANSPARENT, mask=alpha.point(lambda value: 255 if value < HALF_OPAQUE else 0))
    result.info["transparency"] = GIF_TRANSPARENT
    return result


def _quantized(image: Image.Image, colours: int) -> Image.Image:
    """Return the image with a palette of at most this many colours, dithered (Floyd–Steinberg)."""
    palette = image.quantize(colours)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _bmp_rgba(image: Image.Image) -> bytes:
    """Return the whole BMP file for an RGBA image: programs ignore the transparency of Pillow's BMP files.

    BITMAPV4HEADER says where the alpha is:
    https://learn.microsoft.com/windows/win32/api/wingdi/ns-wingdi-bitmapv4header
    """
    pixels = image.tobytes("raw", "BGRA", 0, -1)  # from the bottom row up
    masks = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    header = struct.pack(
        "<IiiHHIIiiII4I4s48x",
        BMP_HEADER_BYTES,
        *image.size,
        1,  # plane
        32,  # bits a pixel
        BMP_BITFIELDS,
        len(pixels),
        *(0, 0, 0, 0),  # resolution and palette: not stated
        *masks,
        b"BGRs",  # sRGB, little-endian
    )
    start = 14 + BMP_HEADER_BYTES
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + header + pixels
