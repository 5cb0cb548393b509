"""Pictures to send, made by formulas, and what became of them."""

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
MAX_FILE_BYTES = 10 * 1024 * 1024  # that a file may have
_ORIENTATION = 0x0112  # the tag of EXIF
_FINE = 12  # dots for each pixel of a drawing: it can be reduced by 2, 3 and 4 exactly
_BACKDROP = (128, 128, 128)  # behind what is transparent


@dataclass(frozen=True)
class Sample:
    """A file to be sent, and what it shows. ``format`` is what its content is, whatever ``filename`` says.

    ``declared`` is the media type that it is sent with; None: its own.
    """

    filename: str
    format: str
    content: bytes
    image: Image.Image
    declared: str | None = None

    @property
    def media_type(self) -> str:
        return self.declared or MEDIA_TYPES[self.format]

    @property
    def part(self) -> tuple[str, bytes, str]:
        """As a file of a form, for ``requests``."""
        return (self.filename, self.content, self.media_type)

    def renamed(self, filename: str) -> Sample:
        return replace(self, filename=filename)

    def with_content(self, content: bytes) -> Sample:
        """Another content under this name."""
        return replace(self, content=content)


@cache
def scene(width: int = SIDE, height: int = OTHER_SIDE) -> Image.Image:
    """Colours, edges and slopes; different in every corner, so that no turning or mirroring leaves it alike."""
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
    """Dark shapes with sharp edges on a light ground, as ``scene`` is large; with a factor, drawn that much finer.

    Reducing a finer one by averaging gives the one of factor 1: what an ideal enlargement looks like is known.
    """
    return _drawn().resize((SIDE * factor, OTHER_SIDE * factor), Image.Resampling.BOX)


@cache
def _drawn() -> Image.Image:
    large = Image.new("RGB", (SIDE * _FINE, OTHER_SIDE * _FINE), (235, 235, 235))
    draw = ImageDraw.Draw(large)
    # Straight slanted edges, and no blur: networks make round things rounder and soft things sharper than they were.
    for corners in (
        (3, 5, 30, 2, 26, 20, 8, 24),
        (36, 24, 60, 6, 58, 44),
        (5, 45, 14, 28, 31, 41),
    ):
        draw.polygon([place * _FINE for place in corners], fill=(25, 25, 25))
    return large


def alpha_mask(size: tuple[int, int] = (SIDE, OTHER_SIDE)) -> Image.Image:
    """How opaque each pixel is to be: nothing, half and all in large pieces, different in every corner."""
    made = Image.new("L", size, 255)
    draw = ImageDraw.Draw(made)
    w, h = size
    draw.rectangle((0, 0, w * 0.3, h * 0.5), fill=0)
    draw.ellipse((w * 0.5, h * 0.4, w * 0.95, h * 0.9), fill=0)
    draw.rectangle((w * 0.4, 0, w * 0.7, h * 0.25), fill=128)
    return made


@cache
def bilevel() -> Image.Image:
    """Black shapes on white, in one bit; different in every corner, and so plain that every enlargement agrees."""
    made = Image.new("1", (SIDE, OTHER_SIDE), 255)
    draw = ImageDraw.Draw(made)
    draw.rectangle((0, 0, 27, 15), fill=0)
    draw.rectangle((44, 24, SIDE - 1, OTHER_SIDE - 1), fill=0)
    return made


def encode(image: Image.Image, picture_format: str, **options: object) -> bytes:
    content = io.BytesIO()
    defaults: dict[str, object] = {"jpeg": {"quality": 95}, "webp": {"lossless": True}}.get(
        picture_format, {}
    )  # type: ignore[assignment]
    image.save(content, picture_format.upper(), **{**defaults, **options})
    return content.getvalue()


def make_sample(
    picture_format: str = "png", image: Image.Image | None = None, stem: str = "kit", **options: object
) -> Sample:
    """``options`` are Pillow's, for writing."""
    image = scene() if image is None else image
    content = encode(image, picture_format, **options)
    return Sample(f"{stem}{EXTENSIONS[picture_format]}", picture_format, content, image)


def oriented(orientation: int, picture_format: str = "jpeg") -> Sample:
    """The scene in a file whose pixels lie turned, and that says how to turn them back (EXIF orientation 2–8)."""
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    noted = Image.Exif()
    noted[_ORIENTATION] = orientation
    content = encode(scene().transpose(turn), picture_format, exif=noted)
    return Sample(f"turned-{orientation}{EXTENSIONS[picture_format]}", picture_format, content, scene())


def exif_orientation(image: Image.Image) -> int:
    """That the file notes; 1, upright, if it notes none."""
    return int(image.getexif().get(_ORIENTATION, 1))


def animated(picture_format: str, frames: list[Image.Image], stem: str = "moving") -> Sample:
    """An animation (GIF, PNG, WebP), or a TIFF of several pages."""
    options: dict[str, object] = {"save_all": True, "append_images": frames[1:]}
    if picture_format != "tiff":
        options["duration"] = 100  # milliseconds
    return Sample(
        f"{stem}{EXTENSIONS[picture_format]}",
        picture_format,
        encode(frames[0], picture_format, **options),
        frames[0],
    )


def all_frames(image: Image.Image) -> list[Image.Image]:
    """All frames or pages, as they are shown."""
    return [
        frame.convert("RGBA" if frame.mode == "P" else frame.mode) for frame in ImageSequence.Iterator(image)
    ]


def png_16_bit(image: Image.Image) -> bytes:
    """16 bits for each sample of an L or RGB picture; Pillow writes no such RGB."""
    samples = len(image.getbands())
    data = image.tobytes()
    step = image.width * samples
    lines = (data[start : start + step] for start in range(0, len(data), step))
    # A byte said twice is the same share of 65535 as it was of 255.
    raw = b"".join(b"\0" + bytes(byte for level in line for byte in (level, level)) for line in lines)
    return _png(image.size, 16, 2 if samples == 3 else 0, zlib.compress(raw))  # noqa: PLR2004


@cache
def huge_png(side: int) -> bytes:
    """A whole, black picture of one bit, of a thousandth of the bytes that its pixels are."""
    packing = zlib.compressobj(9)
    line = bytes(1 + (side + 7) // 8)
    packed = b"".join(packing.compress(line) for _ in range(side)) + packing.flush()
    return _png((side, side), 1, 0, packed)


def _png(size: tuple[int, int], bits: int, colours: int, packed: bytes) -> bytes:
    """``colours`` as in the header: 0 gray, 2 RGB."""
    head = struct.pack(">IIBBBBB", *size, bits, colours, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def pad_jpeg(content: bytes, size: int) -> bytes:
    """A JPEG with as many comments put into it as make it exactly so many bytes."""
    left = size - len(content)
    comments = []
    while left:
        # The marker and its length take 4 bytes, and a comment has at most 65,533: never leave less than 4.
        taken = left if left <= 65_537 else min(65_537, left - 4)  # noqa: PLR2004
        comments.append(b"\xff\xfe" + struct.pack(">H", taken - 2) + b" " * (taken - 4))
        left -= taken
    return content[:2] + b"".join(comments) + content[2:]


def decode(content: bytes) -> Image.Image:
    """Raises OSError, or whatever else Pillow stumbles on, for what is no picture."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def detect_format(content: bytes) -> str | None:
    """By the first bytes; None for none of the six formats."""
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
    """As a screen shows it: 8-bit RGB, what is transparent over gray. Orientation is left as it is."""
    if image.mode.startswith(("I", "F")):
        image = image.convert("I").point(lambda level: level * (1 / 257)).convert("L")  # 16 bits
    if image.mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in image.info:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _BACKDROP), above).convert("RGB")
    return image.convert("RGB")


def alpha_channel(image: Image.Image) -> Image.Image:
    """The alpha channel; 255 everywhere for a picture without any."""
    return image.convert("RGBA").getchannel("A")


def agreement_db(original: Image.Image, result: Image.Image) -> float:
    """The peak signal-to-noise ratio of a result that was reduced to its original's size by averaging, in RGB.

    Measured with ``scene`` in all six formats at 2, 3 and 4: the networks of Real-ESRGAN 28 dB and more, Lanczos,
    bicubic and bilinear 36 and more, repeated pixels 43 and more; shifted by one of its pixels 21.0 at most,
    shifted by four, cropped, blank, gray, mirrored, turned or of other colours 15.5 at most.
    """
    return psnr(flatten(original), flatten(result).resize(original.size, Image.Resampling.BOX))


def psnr(first: Image.Image, second: Image.Image) -> float:
    """Of two pictures of one size and mode, in dB."""
    squares = ImageStat.Stat(ImageChops.difference(first, second)).sum2
    mean = sum(squares) / (len(squares) * first.width * first.height)
    return math.inf if mean == 0 else 10 * math.log10(255**2 / mean)
