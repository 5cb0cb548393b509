"""Decode an image file into plain arrays; every file may be hostile."""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, JpegImagePlugin, UnidentifiedImageError

from domain.errors import InvalidImage
from domain.formats import ImageFormat
from domain.sizing import Caps, Size
from workers.engine.codecs.decode_16bit import is_16bit, pixels_16bit
from workers.engine.codecs.metadata import Metadata, apply_orientation, load_pixels, metadata_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL.ImageFile import ImageFile

    from workers.engine.arrays import Pixels


UNREADABLE = "The file cannot be read as a JPEG, PNG, WebP, BMP, TIFF or GIF image."
DAMAGED = "The image is damaged or incomplete."

# Pillow's own limit is lower than what an operator may allow; ``decoding_limits`` sets the operator's.
Image.MAX_IMAGE_PIXELS = None

# ``open_image`` names the formats because Pillow knows about sixty, some of which run other programs.
_PILLOW_FORMATS = tuple(image_format.value.upper() for image_format in ImageFormat)

_FORMATS = {
    **{image_format.value.upper(): image_format for image_format in ImageFormat},
    "MPO": ImageFormat.JPEG,  # phones write it: a JPEG with more images after the first
}

FULL_CHROMA = 0  # Pillow's number for 4:4:4


@dataclass(frozen=True)
class Encoding:
    """The properties of the original's encoding that the result must have too."""

    image_format: ImageFormat
    chroma_subsampling: int = FULL_CHROMA
    progressive: bool = False
    lossless: bool = False


@dataclass(frozen=True)
class DecodedImage:
    """An image with its encoding and metadata.

    ``pixels`` is ``(H, W, C)``, uint8 or uint16: gray, gray + alpha, RGB (sRGB or of its profile), or RGBA.
    """

    pixels: Pixels
    encoding: Encoding
    metadata: Metadata

    @property
    def size(self) -> Size:
        height, width, _ = self.pixels.shape
        return Size(width, height)

    @property
    def is_neutral(self) -> bool:
        """Return True if all pixels are shades of gray, in any number of channels."""
        red = self.pixels[..., 0]
        return self.pixels.shape[2] < 3 or all(  # noqa: PLR2004
            np.array_equal(red, self.pixels[..., channel]) for channel in (1, 2)
        )

    @property
    def has_alpha(self) -> bool:
        """Return whether the last channel is alpha: gray with alpha has 2 channels, RGBA 4."""
        return self.pixels.shape[2] in {2, 4}


def decode(path: Path, caps: Caps = Caps()) -> DecodedImage:  # noqa: B008  # Caps is frozen
    """Decode the image in this file, upright; of several, the first one.

    An image with more pixels than ``caps`` allow for a result is not read. Raise InvalidImage, OSError.
    """
    # The file is read first, so that an OSError means the disk and every later error means the content.
    content = path.read_bytes()
    with decoding_limits(caps):
        return _decode(content, caps)


@contextmanager
def decoding_limits(caps: Caps, frames: int = 1) -> Iterator[None]:
    """Turn every error about a file's content within the block into InvalidImage.

    Within the block Pillow rejects an image of more than twice the pixels of ``caps``; with several
    ``frames``, each may have twice its share.
    """
    Image.MAX_IMAGE_PIXELS = max(1, caps.max_pixels // frames)
    try:
        with warnings.catch_warnings():
            # Pillow warns about faults that it tolerates; the serious ones are checked here.
            warnings.simplefilter("ignore")
            yield
    except (InvalidImage, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InvalidImage(UNREADABLE) from error
    except Image.DecompressionBombError as error:
        raise InvalidImage(_too_many_pixels(caps)) from error
    except Exception as error:
        # Pillow's parsers raise many kinds of errors: OSError, SyntaxError, struct.error, KeyError …
        raise InvalidImage(DAMAGED) from error
    finally:
        Image.MAX_IMAGE_PIXELS = None


def _too_many_pixels(caps: Caps) -> str:
    """Return the error message for an image with more pixels than the caps allow."""
    return f"The image has more than {caps.max_pixels:,} pixels."


def _decode(content: bytes, caps: Caps) -> DecodedImage:
    """Decode the first frame.

    Raise InvalidImage for too many pixels, and Pillow's errors for damaged content. The size is checked
    before any pixel is decoded; the checksums of a PNG are verified.
    """
    image = open_image(content)
    if Size(*image.size).pixels > caps.max_pixels:
        raise InvalidImage(_too_many_pixels(caps))
    if image.format == "PNG":
        open_image(content).verify()  # loading ignores a wrong checksum
    return decode_frame(image, encoding_of(image, content))


def decode_frame(image: ImageFile, encoding: Encoding) -> DecodedImage:
    """Decode the frame or page that ``image`` is currently at, upright, with its metadata.

    CMYK and LAB become sRGB. Gray, bilevel and (without a colour profile) gray palettes become gray, all
    others RGB. Transparency becomes an alpha channel. Raise InvalidImage for 32 bits in each channel, and
    Pillow's errors for damaged content.
    """
    if is_16bit(image):
        return DecodedImage(pixels_16bit(image), encoding, metadata_of(image))
    load_pixels(image)
    metadata = metadata_of(image)
    converted, profile = _to_supported_mode(apply_orientation(image), metadata.icc_profile)
    pixels = np.asarray(converted)
    if pixels.ndim == 2:  # noqa: PLR2004  # gray images have no channel axis
        pixels = pixels[..., None]
    return DecodedImage(pixels, encoding, replace(metadata, icc_profile=profile))


def open_image(content: bytes) -> ImageFile:
    """Open an image of a supported format without decoding its pixels.

    Only the header is read, except that a WebP is read and parsed as a whole. Call it within ``decoding_limits``. Raise
    UnidentifiedImageError for any other format, and Pillow's errors for a damaged header or an incomplete WebP.
    """
    return Image.open(io.BytesIO(content), formats=_PILLOW_FORMATS)


def encoding_of(image: Image.Image, content: bytes) -> Encoding:
    """Return the encoding properties of an opened image."""
    image_format = _FORMATS[image.format or ""]
    if image_format is ImageFormat.JPEG:
        # Unknown kinds of subsampling become 4:4:4, which loses nothing.
        subsampling = max(FULL_CHROMA, JpegImagePlugin.get_sampling(image))
        return Encoding(image_format, subsampling, progressive=bool(image.info.get("progressive")))
    if image_format is ImageFormat.WEBP:
        return Encoding(image_format, lossless=_is_lossless_webp(content))
    return Encoding(image_format)


def _is_lossless_webp(content: bytes) -> bool:
    """Return True if the first image in the container is a ``VP8L`` chunk.

    https://developers.google.com/speed/webp/docs/riff_container
    """
    position = 12
    while position + 8 <= len(content):
        name = content[position : position + 4]
        if name in {b"VP8L", b"VP8 "}:
            return name == b"VP8L"
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        # A frame of an animation starts with 16 bytes about itself, followed by its own chunks.
        position += 8 + (16 if name == b"ANMF" else length + length % 2)
    return False


def _to_supported_mode(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Return the image as 8-bit gray or RGB, with or without alpha, and the profile that then applies.

    Raise InvalidImage for 32 bits in each channel.
    """
    if image.mode in {"CMYK", "LAB"}:
        return _to_srgb(image, profile), None
    if image.mode in {"I", "F"}:
        raise InvalidImage("Images with 32 bits in each channel cannot be upscaled. Use 8 or 16 bits.")
    if image.mode in {"LA", "RGBA"}:
        return image, profile
    if image.mode in {"L", "RGB"} and not image.has_transparency_data:
        return image, profile
    # The remaining modes are bilevel, palettes, one transparent colour, YCbCr, premultiplied alpha and
    # others.
    gray = image.mode in {"1", "L", "La"} or (
        # With a colour profile, which programs reject on gray images, the grays of a palette stay RGB.
        image.mode == "P" and _is_gray(image.getpalette() or []) and _allows_gray(profile)
    )
    mode = "L" if gray else "RGB"
    if image.has_transparency_data:
        # Pillow cannot convert a palette to gray with alpha directly, so the conversion goes through RGBA.
        return (image.convert("RGBA") if image.mode == "P" else image).convert(f"{mode}A"), profile
    return image.convert(mode), profile


def _is_gray(palette: list[int]) -> bool:
    """Return whether all colours of the palette (R, G, B, R, G, B, …) are gray; True for an empty one."""
    return palette[0::3] == palette[1::3] == palette[2::3]


def _allows_gray(profile: bytes | None) -> bool:
    """Return whether a gray image can have this ICC profile: None, or a profile of the colour space GRAY."""
    # The header of a profile has its colour space at this position (ICC.1, 7.2.6).
    return profile is None or profile[16:20] == b"GRAY"


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a CMYK or LAB image to 8-bit sRGB: CMYK through ``profile``, LAB without it.

    Use Pillow's formula if the profile is missing or unusable.
    """
    try:
        source = ImageCms.createProfile("LAB") if image.mode == "LAB" else io.BytesIO(profile or b"")
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        converted = image.convert("RGB")
    assert converted is not None
    return converted
