"""Decode image files with Pillow, and encode the results."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageOps, ImageSequence

FORMATS = ("jpeg", "png", "webp", "bmp", "tiff", "gif")
MAX_PIXELS, MAX_FRAMES, MAX_PAGES = 40_000_000, 200, 50


class InvalidImage(Exception):
    """The file is not an acceptable image. The text of the exception is shown to the user."""


@dataclass
class DecodedImage:
    """All frames or pages of one image, with the EXIF orientation applied. ``durations`` are milliseconds."""

    format: str
    frames: list[Image.Image]
    durations: list[int] = field(default_factory=list)
    loop: int | None = None
    icc_profile: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the first frame, in pixels."""
        return self.frames[0].size

    @property
    def has_pages(self) -> bool:
        """Return True if the frames are pages, which may differ in size."""
        return self.format == "tiff"


def detect_format(content: bytes) -> str | None:
    """Return the format of a file by its content, or None if it is none of ``FORMATS``."""
    try:
        with Image.open(io.BytesIO(content), formats=[name.upper() for name in FORMATS]) as image:
            return str(image.format).lower()
    except Exception:  # noqa: BLE001  # any failure in Pillow means that this is not an image
        return None


def decode(content: bytes) -> DecodedImage:
    """Return all frames of a file. Raise InvalidImage if it is damaged or too large."""
    try:
        _check_complete(content)
        with Image.open(io.BytesIO(content), formats=[name.upper() for name in FORMATS]) as image:
            _check_limits(image)
            return _decode_frames(image)
    except InvalidImage:
        raise
    except Exception:  # noqa: BLE001
        raise InvalidImage("The image is damaged.") from None


def encode(decoded: DecodedImage) -> bytes:
    """Return the file of an image, in its format."""
    content = io.BytesIO()
    first, *others = [_convert_for_format(frame, decoded.format) for frame in decoded.frames]
    options: dict[str, Any] = {"jpeg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(
        decoded.format, {}
    )
    if decoded.icc_profile and decoded.format in {"jpeg", "png", "webp", "tiff"}:
        options["icc_profile"] = decoded.icc_profile
    if others:
        options |= {"save_all": True, "append_images": others}
        if not decoded.has_pages:
            options |= {"duration": decoded.durations, "loop": decoded.loop or 0}
        if decoded.format == "gif":
            options["disposal"] = 2  # clear each frame before the next one
    first.save(content, decoded.format.upper(), **options)
    return content.getvalue()


def _check_complete(content: bytes) -> None:
    """Raise InvalidImage if the end of the file is missing, which decoders ignore."""
    if content.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
    is_truncated = (
        (content.startswith(b"\x89PNG") and b"IEND\xaeB`\x82" not in content)
        or (content.startswith(b"\xff\xd8") and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"))
        or (content.startswith(b"GIF8") and not content.rstrip(b"\0").endswith(b";"))
        or (content.startswith(b"RIFF") and len(content) < struct.unpack("<I", content[4:8])[0] + 8)
    )
    if is_truncated:
        raise InvalidImage("The image is cut off.")


def _check_limits(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InvalidImage("The image has too many pixels.")
    frames = getattr(image, "n_frames", 1)
    if frames > (MAX_PAGES if image.format == "TIFF" else MAX_FRAMES):
        raise InvalidImage("The image has too many frames.")
    if image.width * image.height * frames > MAX_PIXELS:
        raise InvalidImage("The image has too many pixels.")


def _decode_frames(image: Image.Image) -> DecodedImage:
    decoded = DecodedImage(str(image.format).lower(), [])
    if decoded.format == "mpo":  # a JPEG followed by a preview
        decoded.format = "jpeg"
    decoded.icc_profile, decoded.loop = image.info.get("icc_profile"), image.info.get("loop")
    for frame in ImageSequence.Iterator(image):
        frame.load()
        decoded.durations.append(int(frame.info.get("duration", 100)))
        decoded.frames.append(_normalize(frame))
        if decoded.format == "jpeg":
            break
    if decoded.format in {"gif", "webp"} and len(decoded.frames) > 1:
        modes = {frame.mode for frame in decoded.frames}
        if len(modes) > 1:
            mode = "RGBA" if modes & {"RGBA", "LA"} else "RGB"
            decoded.frames = [frame.convert(mode) for frame in decoded.frames]
    return decoded


def _normalize(frame: Image.Image) -> Image.Image:
    """Return the frame upright, in mode L, LA, RGB or RGBA, and without metadata."""
    upright = ImageOps.exif_transpose(frame)
    if upright.mode.startswith("I"):
        normal = upright.convert("I").point(lambda level: level / 256).convert("L")
    elif upright.mode in {"L", "LA", "RGB", "RGBA"} and "transparency" not in upright.info:
        normal = upright.copy()
    elif upright.mode in {"1", "L"} and "transparency" not in upright.info:
        normal = upright.convert("L")
    elif "transparency" in upright.info or upright.mode in {"PA", "RGBa", "La"}:
        normal = upright.convert("RGBA")
    else:
        normal = upright.convert("RGB")
    normal.info = {}
    return normal


def _convert_for_format(frame: Image.Image, image_format: str) -> Image.Image:
    """Return the frame in a mode that the format can store."""
    if image_format in {"jpeg", "bmp"} and frame.mode in {"LA", "RGBA"}:
        return frame.convert("RGB")
    if image_format == "gif" and frame.mode in {"LA", "RGBA"}:
        return _quantize_with_transparency(frame.convert("RGBA"))
    return frame


def _quantize_with_transparency(frame: Image.Image) -> Image.Image:
    """Return a palette image with 255 colours; entry 255 is transparent."""
    palette = frame.convert("RGB").quantize(255)
    transparent = frame.getchannel("A").point(lambda level: 255 if level < 128 else 0)
    palette.paste(255, mask=transparent)
    palette.info["transparency"] = 255
    return palette
