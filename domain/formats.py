"""The six picture formats of the contract."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath


class ImageFormat(StrEnum):
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    BMP = "bmp"
    TIFF = "tiff"
    GIF = "gif"

    @property
    def extension(self) -> str:
        """The usual extension of a file name, with its dot."""
        return ".jpg" if self is ImageFormat.JPEG else f".{self.value}"

    @property
    def extensions(self) -> tuple[str, ...]:
        """Every extension under which people know the format, lower case."""
        more = {ImageFormat.JPEG: (".jpeg", ".jpe", ".jfif"), ImageFormat.TIFF: (".tif",)}
        return (self.extension, *more.get(self, ()))

    @property
    def media_type(self) -> str:
        return f"image/{self.value}"

    @property
    def max_frames(self) -> int:
        """How many pictures of one file are upscaled: frames of an animation, or pages."""
        return _MAX_FRAMES.get(self, 1)


_MAX_FRAMES = {
    ImageFormat.GIF: 200,
    ImageFormat.PNG: 200,
    ImageFormat.WEBP: 200,
    ImageFormat.TIFF: 50,
}

MAX_TIFF_DIRECTORIES = 1000
"""Pages with smaller copies of them; Pillow compares each with all before it."""
TIFF_SUBFILE_TYPE = 254
"""The number of the tag that says what a directory of a TIFF holds."""
_SMALLER_COPY_OR_MASK = 0b101


def is_tiff_page(subfile_type: int) -> bool:
    """Rather than a smaller copy of a page, or the mask of one (TIFF 6.0, section 8, tag 254)."""
    return not subfile_type & _SMALLER_COPY_OR_MASK


def format_named(filename: str) -> ImageFormat | None:
    """The format that a file's name speaks of; None for a name that speaks of none."""
    suffix = PurePath(filename).suffix.lower()
    return next((picture for picture in ImageFormat if suffix in picture.extensions), None)
