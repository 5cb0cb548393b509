"""Generated images to upload, and operations on their results."""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass, replace
from functools import cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageSequence, ImageStat

FORMATS = ("jpeg", "png", "webp", "bmp", "tiff", "gif")
EXTENSIONS = {"jpeg": ".jpg", **{name: f".{name}" for name in FORMATS if name != "jpeg"}}
MEDIA_TYPES = {name: f"image/{name}" for name in FORMATS}
SIDE, OTHER_SIDE = 64, 48
MAX_FILE_BYTES = 10 * 1024 * 1024  # the contract's limit for one file
_ORIENTATION_TAG = 0x0112  # EXIF
_OVERSAMPLING = 12  # divisible by 2, 3 and 4, so that a drawing can be reduced exactly
_MAX_COMMENT_BYTES = 65_537  # of a JPEG segment, with marker and length
_BACKGROUND = (128, 128, 128)  # behind transparent pixels


@dataclass(frozen=True)
class Sample:
    """A file to upload and its image. ``format`` is the format of the content, independent of ``filename``.

    ``declared`` is the media type to send; None for that of the format.
    """

    filename: str
    format: str
    content: bytes
    image: Image.Image
    declared: str | None = None

    @property
    def media_type(self) -> str:
        """Return the declared media type, which may be wrong on purpose, or that of the format."""
        return self.declared or MEDIA_TYPES[self.format]

    @property
    def part(self) -> tuple[str, bytes, str]:
        """Return the file as a part of a form, for ``requests``."""
        return (self.filename, self.content, self.media_type)

    def renamed(self, filename: str) -> Sample:
        """Return the same sample with another file name."""
        return replace(self, filename=filename)

    def with_content(self, content: bytes) -> Sample:
        """Return a sample with the same name and another content."""
        return replace(self, content=content)


@cache
def scene(width: int = SIDE, height: int = OTHER_SIDE) -> Image.Image:
    """Return an image with colours, edges and gradients that is not symmetric in any direction."""
    large = Image.new("RGB", (width * 4, height * 4))
    across = Image.linear_gradient("L").rotate(90).resize(large.size)
    down = Image.linear_gradient("L").resize(large.size)
    large = Image.merge("RGB", (across, down, ImageChops.invert(across).point(lambda level: level // 2 + 40)))
    draw = ImageDraw.Draw(large)
    w, h = large.size
    draw.ellipse((w * 0.08, h * 0.1, w * 0.4, h * 0.5), fill=(230, 60, 40))
    draw.rectangle((w * 0.6, h * 0.12, w * 0.9, h * 0.35), fill=(30, 60, 200))
    draw.polygon([(w * 0.55, h * 0.9), (w * 0.75, h * 0.5), (w * 0.95, h * 0.9)], fill=(240, 220, 60))
    draw.line((w * 0.05, h * 0.95, w * 0.45, h * 0.6), fill=(20, 20, 20), width=max(4, w // 40))
    return large.filter(ImageFilter.GaussianBlur(2)).resize((width, height), Image.Resampling.BOX)


def drawing(factor: int = 1) -> Image.Image:
    """Return dark shapes with sharp edges, in the size of ``scene`` times ``factor``.

    Averaging a larger drawing gives the drawing of factor 1: it is the ideal enlargement.
    """
    return _oversampled_drawing().resize((SIDE * factor, OTHER_SIDE * factor), Image.Resampling.BOX)


@cache
def _oversampled_drawing() -> Image.Image:
    """Return dark polygons with straight, slanted edges on a light ground, larger by ``_OVERSAMPLING``."""
    large = Image.new("RGB", (SIDE * _OVERSAMPLING, OTHER_SIDE * _OVERSAMPLING), (235, 235, 235))
    draw = ImageDraw.Draw(large)
    # Straight slanted edges without blur: networks change curves and sharpen soft edges.
    for corners in (
        (3, 5, 30, 2, 26, 20, 8, 24),
        (36, 24, 60, 6, 58, 44),
        (5, 45, 14, 28, 31, 41),
    ):
        draw.polygon([place * _OVERSAMPLING for place in corners], fill=(25, 25, 25))
    return large


def alpha_mask(size: tuple[int, int] = (SIDE, OTHER_SIDE)) -> Image.Image:
    """Return an alpha channel with large areas of 0, 128 and 255 that is not symmetric."""
    made = Image.new("L", size, 255)
    draw = ImageDraw.Draw(made)
    w, h = size
    draw.rectangle((0, 0, w * 0.3, h * 0.5), fill=0)
    draw.ellipse((w * 0.5, h * 0.4, w * 0.95, h * 0.9), fill=0)
    draw.rectangle((w * 0.4, 0, w * 0.7, h * 0.25), fill=128)
    return made


@cache
def bilevel() -> Image.Image:
    """Return a 1-bit image of black shapes on white, so plain that all enlargements agree."""
    made = Image.new("1", (SIDE, OTHER_SIDE), 255)
    draw = ImageDraw.Draw(made)
    draw.rectangle((0, 0, 27, 15), fill=0)
    draw.rectangle((44, 24, SIDE - 1, OTHER_SIDE - 1), fill=0)
    return made


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Return the image as a file of a format in ``FORMATS``.

    JPEG has quality 95 and WebP is lossless unless ``options``, those of Pillow, differ. Raise OSError for a
    mode that the format does not have.
    """
    content = io.BytesIO()
    defaults: dict[str, object] = {"jpeg": {"quality": 95}, "webp": {"lossless": True}}.get(image_format, {})  # type: ignore[assignment]
    image.save(content, image_format.upper(), **{**defaults, **options})
    return content.getvalue()


def make_sample(
    image_format: str = "png", image: Image.Image | None = None, stem: str = "kit", **options: object
) -> Sample:
    """Return a sample of this format; ``options`` are those of Pillow for saving.

    The image is by default ``scene``; ``stem`` is the file name without its extension.
    """
    image = scene() if image is None else image
    content = encode(image, image_format, **options)
    return Sample(f"{stem}{EXTENSIONS[image_format]}", image_format, content, image)


def oriented(orientation: int, image_format: str = "jpeg") -> Sample:
    """Return the scene in a file whose EXIF orientation reverses the transposition of its pixels.

    Raise KeyError for an orientation other than 2 to 8. The sample's image is upright.
    """
    transposition = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = orientation
    content = encode(scene().transpose(transposition), image_format, exif=exif)
    return Sample(f"oriented-{orientation}{EXTENSIONS[image_format]}", image_format, content, scene())


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of the file; 1 (upright) without one."""
    return int(image.getexif().get(_ORIENTATION_TAG, 1))


def animated(image_format: str, frames: list[Image.Image], stem: str = "moving") -> Sample:
    """Return an animation (GIF, PNG, WebP; 100 ms a frame) or a TIFF of several pages.

    The sample's image is the first frame. Raise IndexError without frames.
    """
    options: dict[str, object] = {"save_all": True, "append_images": frames[1:]}
    if image_format != "tiff":
        options["duration"] = 100  # milliseconds
    return Sample(
        f"{stem}{EXTENSIONS[image_format]}",
        image_format,
        encode(frames[0], image_format, **options),
        frames[0],
    )


def all_frames(image: Image.Image) -> list[Image.Image]:
    """Return all frames or pages, with palettes resolved."""
    return [
        frame.convert("RGBA" if frame.mode == "P" else frame.mode) for frame in ImageSequence.Iterator(image)
    ]


def png_16_bit(image: Image.Image) -> bytes:
    """Return a PNG with 16 bits per channel of an L or RGB image; any other mode gives an invalid file.

    Pillow cannot write RGB of 16 bits.
    """
    channels = len(image.getbands())
    data = image.tobytes()
    step = image.width * channels
    lines = (data[start : start + step] for start in range(0, len(data), step))
    # A repeated byte is the same fraction of 65535 as the byte is of 255.
    raw = b"".join(b"\0" + bytes(byte for level in line for byte in (level, level)) for line in lines)
    return _png(image.size, 16, 2 if image.mode == "RGB" else 0, zlib.compress(raw))


@cache
def huge_png(side: int) -> bytes:
    """Return a complete black 1-bit PNG of ``side`` pixels squared; its file is a tiny part of its pixels."""
    packing = zlib.compressobj(9)
    line = bytes(1 + (side + 7) // 8)
    packed = b"".join(packing.compress(line) for _ in range(side)) + packing.flush()
    return _png((side, side), 1, 0, packed)


def _png(size: tuple[int, int], bits: int, colours: int, packed: bytes) -> bytes:
    """Return a PNG file; ``colours`` is the colour type of its header: 0 gray, 2 RGB."""
    head = struct.pack(">IIBBBBB", *size, bits, colours, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def pad_jpeg(content: bytes, size: int) -> bytes:
    """Return the JPEG with comments inserted so that it has exactly ``size`` bytes.

    ``size`` must be that of ``content`` or at least 4 bytes more.
    """
    left = size - len(content)
    comments = []
    while left:
        # Marker and length of a segment have 4 bytes: never leave fewer.
        used = left if left <= _MAX_COMMENT_BYTES else min(_MAX_COMMENT_BYTES, left - 4)
        comments.append(b"\xff\xfe" + struct.pack(">H", used - 2) + b" " * (used - 4))
        left -= used
    return content[:2] + b"".join(comments) + content[2:]


def decode(content: bytes) -> Image.Image:
    """Return the image with all pixels of its first frame loaded.

    Raise OSError or another exception of Pillow for invalid or truncated content.
    """
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def detect_format(content: bytes) -> str | None:
    """Return the format by the first bytes alone; None for any but the six formats."""
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    if content.startswith(b"BM"):
        return "bmp"
    if content[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "tiff"
    return "gif" if content[:6] in {b"GIF87a", b"GIF89a"} else None


def flatten(image: Image.Image) -> Image.Image:
    """Return the image as 8-bit RGB, with transparent pixels on gray.

    Its orientation and profile are ignored; modes I and F are read as 16 bits.
    """
    if image.mode.startswith(("I", "F")):
        image = image.convert("I").point(lambda level: level * (1 / 257)).convert("L")  # 16 bits
    if image.mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in image.info:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), above).convert("RGB")
    return image.convert("RGB")


def alpha_channel(image: Image.Image) -> Image.Image:
    """Return the alpha channel; 255 everywhere for an image without one."""
    return image.convert("RGBA").getchannel("A")


def agreement_db(original: Image.Image, result: Image.Image) -> float:
    """Return the peak signal-to-noise ratio in RGB of the result, averaged down to the original's size.

    Measured with ``scene`` in all six formats at factors 2, 3 and 4: Real-ESRGAN networks at least 28 dB;
    Lanczos, bicubic and bilinear at least 36; repeated pixels at least 43; shifted by one pixel at most 21.0;
    shifted by four, cropped, blank, gray, mirrored, rotated or recoloured at most 15.5.
    """
    return psnr(flatten(original), flatten(result).resize(original.size, Image.Resampling.BOX))


def psnr(first: Image.Image, second: Image.Image) -> float:
    """Return the peak signal-to-noise ratio in dB of two 8-bit images; infinity if they are equal.

    Both must have the same size and mode.
    """
    squares = ImageStat.Stat(ImageChops.difference(first, second)).sum2
    mean = sum(squares) / (len(squares) * first.width * first.height)
    return math.inf if mean == 0 else 10 * math.log10(255**2 / mean)
