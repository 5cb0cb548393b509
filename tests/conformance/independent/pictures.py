"""Pictures: what a file holds, enlarged by Lanczos's filter, as a file again."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageOps, ImageSequence

FORMATS = ("jpeg", "png", "webp", "bmp", "tiff", "gif")
MAX_PIXELS, MAX_FRAMES, MAX_PAGES = 40_000_000, 200, 50


class Unreadable(Exception):
    """The message is for the user."""


@dataclass
class Film:
    """All frames or pages of one picture, upright."""

    format: str
    frames: list[Image.Image]
    durations: list[int] = field(default_factory=list)
    loop: int | None = None
    profile: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[0].size

    @property
    def pages(self) -> bool:
        return self.format == "tiff"


def format_of(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content), formats=[name.upper() for name in FORMATS]) as image:
            return str(image.format).lower()
    except Exception:  # noqa: BLE001  # what Pillow stumbles on is no picture
        return None


def read(content: bytes) -> Film:
    """Raises Unreadable."""
    try:
        _whole(content)
        with Image.open(io.BytesIO(content), formats=[name.upper() for name in FORMATS]) as image:
            _small_enough(image)
            return _film(image)
    except Unreadable:
        raise
    except Exception:  # noqa: BLE001
        raise Unreadable("The image is damaged.") from None


def file_of(film: Film) -> bytes:
    content = io.BytesIO()
    first, *others = [_storable(frame, film.format) for frame in film.frames]
    options: dict[str, Any] = {"jpeg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(
        film.format, {}
    )
    if film.profile and film.format in {"jpeg", "png", "webp", "tiff"}:
        options["icc_profile"] = film.profile
    if others:
        options |= {"save_all": True, "append_images": others}
        if not film.pages:
            options |= {"duration": film.durations, "loop": film.loop or 0}
        if film.format == "gif":
            options["disposal"] = 2  # cleared before the next one
    first.save(content, film.format.upper(), **options)
    return content.getvalue()


def _whole(content: bytes) -> None:
    """Nothing is missing at the end, which decoders forgive."""
    if content.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
    cut = (
        (content.startswith(b"\x89PNG") and b"IEND\xaeB`\x82" not in content)
        or (content.startswith(b"\xff\xd8") and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"))
        or (content.startswith(b"GIF8") and not content.rstrip(b"\0").endswith(b";"))
        or (content.startswith(b"RIFF") and len(content) < struct.unpack("<I", content[4:8])[0] + 8)
    )
    if cut:
        raise Unreadable("The image is cut off.")


def _small_enough(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable("The image has too many pixels.")
    frames = getattr(image, "n_frames", 1)
    if frames > (MAX_PAGES if image.format == "TIFF" else MAX_FRAMES):
        raise Unreadable("The image has too many frames.")
    if image.width * image.height * frames > MAX_PIXELS:
        raise Unreadable("The image has too many pixels.")


def _film(image: Image.Image) -> Film:
    film = Film(str(image.format).lower(), [])
    if film.format == "mpo":  # a JPEG with a preview behind it
        film.format = "jpeg"
    film.profile, film.loop = image.info.get("icc_profile"), image.info.get("loop")
    for frame in ImageSequence.Iterator(image):
        frame.load()
        film.durations.append(int(frame.info.get("duration", 100)))
        film.frames.append(_plain(frame))
        if film.format == "jpeg":
            break
    if film.format in {"gif", "webp"} and len(film.frames) > 1:
        modes = {frame.mode for frame in film.frames}
        if len(modes) > 1:
            mode = "RGBA" if modes & {"RGBA", "LA"} else "RGB"
            film.frames = [frame.convert(mode) for frame in film.frames]
    return film


def _plain(frame: Image.Image) -> Image.Image:
    """Upright, in one of L, LA, RGB and RGBA, and without any notes."""
    upright = ImageOps.exif_transpose(frame)
    if upright.mode.startswith("I"):
        plain = upright.convert("I").point(lambda level: level / 256).convert("L")
    elif upright.mode in {"L", "LA", "RGB", "RGBA"} and "transparency" not in upright.info:
        plain = upright.copy()
    elif upright.mode in {"1", "L"} and "transparency" not in upright.info:
        plain = upright.convert("L")
    elif "transparency" in upright.info or upright.mode in {"PA", "RGBa", "La"}:
        plain = upright.convert("RGBA")
    else:
        plain = upright.convert("RGB")
    plain.info = {}
    return plain


def _storable(frame: Image.Image, picture_format: str) -> Image.Image:
    if picture_format in {"jpeg", "bmp"} and frame.mode in {"LA", "RGBA"}:
        return frame.convert("RGB")
    if picture_format == "gif" and frame.mode in {"LA", "RGBA"}:
        return _palette_with_a_hole(frame.convert("RGBA"))
    return frame


def _palette_with_a_hole(frame: Image.Image) -> Image.Image:
    seen = frame.convert("RGB").quantize(255)
    hole = frame.getchannel("A").point(lambda level: 255 if level < 128 else 0)
    seen.paste(255, mask=hole)
    seen.info["transparency"] = 255
    return seen
