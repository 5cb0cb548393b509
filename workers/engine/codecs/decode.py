"""Read a picture file into plain arrays. Every file is hostile until it is read."""

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


UNREADABLE = "The file cannot be read as a JPEG, PNG, WebP, BMP, TIFF or GIF picture."
DAMAGED = "The picture is damaged or incomplete."

# Pillow's own limit is lower than what an operator may allow; ``decoding_limits`` sets the operator's.
Image.MAX_IMAGE_PIXELS = None

# Named when opening, because Pillow knows about sixty formats, some of which run other programs.
_PILLOW_FORMATS = tuple(image_format.value.upper() for image_format in ImageFormat)

_FORMATS = {
    **{image_format.value.upper(): image_format for image_format in ImageFormat},
    "MPO": ImageFormat.JPEG,  # what phones write: a JPEG with further pictures behind the first
}

FULL_CHROMA = 0  # 4:4:4 in Pillow's count


@dataclass(frozen=True)
class Encoding:
    """How the original was written, as far as the result should be written likewise."""

    image_format: ImageFormat
    chroma_subsampling: int = FULL_CHROMA
    progressive: bool = False
    lossless: bool = False


@dataclass(frozen=True)
class DecodedImage:
    """``pixels`` is ``(H, W, C)``, uint8 or uint16: gray, gray + alpha, sRGB or RGB in its profile, RGBA."""

    pixels: Pixels
    encoding: Encoding
    metadata: Metadata

    @property
    def size(self) -> Size:
        height, width, _ = self.pixels.shape
        return Size(width, height)

    @property
    def is_neutral(self) -> bool:
        """Whether it shows nothing but shades of gray, in however many channels."""
        red = self.pixels[..., 0]
        return self.pixels.shape[2] < 3 or all(  # noqa: PLR2004
            np.array_equal(red, self.pixels[..., channel]) for channel in (1, 2)
        )

    @property
    def has_alpha(self) -> bool:
        return self.pixels.shape[2] in {2, 4}


def decode(path: Path, caps: Caps = Caps()) -> DecodedImage:  # noqa: B008 — frozen
    """The picture in this file (of several, the first), upright. Raises PictureError, OSError.

    More pixels than ``caps`` allow a result cannot be enlarged, and are not read.
    """
    # Read as a whole first, so that an OSError is the disk's fault and everything after it the file's.
    content = path.read_bytes()
    with decoding_limits(caps):
        return _decode(content, caps)


@contextmanager
def decoding_limits(caps: Caps, frames: int = 1) -> Iterator[None]:
    """Whatever goes wrong with the content of a file within the block is a PictureError.

    Pillow makes no picture of more than twice the pixels of ``caps``, not even for a part of one; of as many
    ``frames`` none of more than twice its share.
    """
    Image.MAX_IMAGE_PIXELS = max(1, caps.max_pixels // frames)
    try:
        with warnings.catch_warnings():
            # Pillow warns about what it forgives; what must not be forgiven is checked here.
            warnings.simplefilter("ignore")
            yield
    except (InvalidImage, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InvalidImage(UNREADABLE) from error
    except Image.DecompressionBombError as error:
        raise InvalidImage(_too_many_pixels(caps)) from error
    except Exception as error:
        # Pillow's parsers raise whatever they stumble on: OSError, SyntaxError, struct.error, KeyError …
        raise InvalidImage(DAMAGED) from error
    finally:
        Image.MAX_IMAGE_PIXELS = None


def _too_many_pixels(caps: Caps) -> str:
    return f"The picture has more than {caps.max_pixels:,} pixels."


def _decode(content: bytes, caps: Caps) -> DecodedImage:
    image = open_image(content)
    if Size(*image.size).pixels > caps.max_pixels:
        raise InvalidImage(_too_many_pixels(caps))
    if image.format == "PNG":
        open_image(content).verify()  # loading forgives a wrong checksum
    return decode_frame(image, encoding_of(image, content))


def decode_frame(image: ImageFile, encoding: Encoding) -> DecodedImage:
    """The frame or page at which ``image`` stands."""
    if is_16bit(image):
        return DecodedImage(pixels_16bit(image), encoding, metadata_of(image))
    load_pixels(image)
    metadata = metadata_of(image)
    converted, profile = _to_supported_mode(apply_orientation(image), metadata.icc_profile)
    pixels = np.asarray(converted)
    if pixels.ndim == 2:  # noqa: PLR2004 — gray has no axis of channels
        pixels = pixels[..., None]
    return DecodedImage(pixels, encoding, replace(metadata, icc_profile=profile))


def open_image(content: bytes) -> ImageFile:
    """Its header read, no pixel yet; one of our formats."""
    return Image.open(io.BytesIO(content), formats=_PILLOW_FORMATS)


def encoding_of(image: Image.Image, content: bytes) -> Encoding:
    image_format = _FORMATS[image.format or ""]
    if image_format is ImageFormat.JPEG:
        # Unknown kinds of subsampling become none at all, which loses nothing.
        subsampling = max(FULL_CHROMA, JpegImagePlugin.get_sampling(image))
        return Encoding(image_format, subsampling, progressive=bool(image.info.get("progressive")))
    if image_format is ImageFormat.WEBP:
        return Encoding(image_format, lossless=_is_lossless_webp(content))
    return Encoding(image_format)


def _is_lossless_webp(content: bytes) -> bool:
    """Whether the first picture in the container is a ``VP8L`` chunk.

    https://developers.google.com/speed/webp/docs/riff_container
    """
    position = 12
    while position + 8 <= len(content):
        name = content[position : position + 4]
        if name in {b"VP8L", b"VP8 "}:
            return name == b"VP8L"
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        # A frame of an animation starts with 16 bytes about itself, then holds chunks of its own.
        position += 8 + (16 if name == b"ANMF" else length + length % 2)
    return False


def _to_supported_mode(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """The same picture as 8-bit gray, RGB or either with alpha; and its profile then."""
    if image.mode in {"CMYK", "LAB"}:
        return _to_srgb(image, profile), None
    if image.mode in {"I", "F"}:
        raise InvalidImage("Pictures with 32 bits in each channel cannot be upscaled; 8 and 16 bits can.")
    if image.mode in {"LA", "RGBA"}:
        return image, profile
    if image.mode in {"L", "RGB"} and not image.has_transparency_data:
        return image, profile
    # Bilevel, palettes, one transparent colour, YCbCr, premultiplied …
    gray = image.mode in {"1", "L", "La"} or (
        # Under a profile for colours, which programs refuse on gray, its grays stay colours.
        image.mode == "P" and _is_gray(image.getpalette() or []) and _allows_gray(profile)
    )
    mode = "L" if gray else "RGB"
    if image.has_transparency_data:
        # There is no way from a palette to gray with alpha, but one through colour.
        return (image.convert("RGBA") if image.mode == "P" else image).convert(f"{mode}A"), profile
    return image.convert(mode), profile


def _is_gray(palette: list[int]) -> bool:
    return palette[0::3] == palette[1::3] == palette[2::3]


def _allows_gray(profile: bytes | None) -> bool:
    return profile is None or profile[16:20] == b"GRAY"  # the colour space in its header (ICC.1, 7.2.6)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Through the colour profile; without a usable one, by Pillow's plain formula."""
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
