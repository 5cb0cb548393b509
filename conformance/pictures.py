"""Pictures to send, made by formulas, and what became of them."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageStat

FORMATS = ("jpeg", "png", "webp", "bmp", "tiff", "gif")
EXTENSIONS = {"jpeg": ".jpg", **{name: f".{name}" for name in FORMATS if name != "jpeg"}}
MEDIA_TYPES = {name: f"image/{name}" for name in FORMATS}
SIDE, OTHER_SIDE = 64, 48


@dataclass(frozen=True)
class Picture:
    """A file to be sent, and what it shows. ``format`` is what its content is, whatever ``filename`` says."""

    filename: str
    format: str
    content: bytes
    image: Image.Image

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.format]

    @property
    def part(self) -> tuple[str, bytes, str]:
        """As a file of a form, for ``requests``."""
        return (self.filename, self.content, self.media_type)

    def named(self, filename: str) -> Picture:
        return Picture(filename, self.format, self.content, self.image)


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


def encoded(image: Image.Image, picture_format: str, **options: object) -> bytes:
    content = io.BytesIO()
    defaults: dict[str, object] = {"jpeg": {"quality": 95}, "webp": {"lossless": True}}.get(
        picture_format, {}
    )  # type: ignore[assignment]
    image.save(content, picture_format.upper(), **{**defaults, **options})
    return content.getvalue()


def picture(picture_format: str = "png", image: Image.Image | None = None, stem: str = "kit") -> Picture:
    image = scene() if image is None else image
    return Picture(
        f"{stem}{EXTENSIONS[picture_format]}", picture_format, encoded(image, picture_format), image
    )


def opened(content: bytes) -> Image.Image:
    """Raises OSError, or whatever else Pillow stumbles on, for what is no picture."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def format_of(content: bytes) -> str | None:
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


def agreement_db(original: Image.Image, result: Image.Image) -> float:
    """The peak signal-to-noise ratio of a result that was reduced to its original's size by averaging, in RGB.

    Honest enlargements of a photograph reach 30 dB and more; one that is blank, mirrored, turned, shifted, cropped
    or of other colours stays under 18.
    """
    reduced = result.convert("RGB").resize(original.size, Image.Resampling.BOX)
    return psnr(original.convert("RGB"), reduced)


def psnr(first: Image.Image, second: Image.Image) -> float:
    squares = ImageStat.Stat(ImageChops.difference(first, second)).sum2
    mean = sum(squares) / (len(squares) * first.width * first.height)
    return math.inf if mean == 0 else 10 * math.log10(255**2 / mean)
