"""The image formats of the contract."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath


class ImageFormat(StrEnum):
    """A format that is accepted, and in which the result is written."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    BMP = "bmp"
    TIFF = "tiff"
    GIF = "gif"

    @property
    def extension(self) -> str:
        """Return the usual file name extension, with its dot."""
        return ".jpg" if self is ImageFormat.JPEG else f".{self.value}"

    @property
    def extensions(self) -> tuple[str, ...]:
        """Return every common file name extension of the format, in lower case, with the dot."""
        more = {ImageFormat.JPEG: (".jpeg", ".jpe", ".jfif"), ImageFormat.TIFF: (".tif",)}
        return (self.extension, *more.get(self, ()))

    @property
    def media_type(self) -> str:
        """Return the media type, such as ``image/jpeg``."""
        return f"image/{self.value}"

    @property
    def max_frames(self) -> int:
        """Return the most frames (of an animation) or pages that one file may have."""
        return _MAX_FRAMES.get(self, 1)


_MAX_FRAMES = {
    ImageFormat.GIF: 200,
    ImageFormat.PNG: 200,
    ImageFormat.WEBP: 200,
    ImageFormat.TIFF: 50,
}

MAX_TIFF_DIRECTORIES = 1000
"""Pages and their reduced copies; Pillow compares each directory with all earlier ones, so the time is quadratic."""
TIFF_SUBFILE_TYPE = 254
"""The number of the tag NewSubfileType: the kind of image in a directory of a TIFF."""
_REDUCED_COPY_OR_MASK = 0b101


def is_tiff_page(subfile_type: int) -> bool:
    """Return whether it is a page, not a reduced copy or the mask of a page (TIFF 6.0, section 8, tag 254)."""
    return not subfile_type & _REDUCED_COPY_OR_MASK


def format_from_filename(filename: str) -> ImageFormat | None:
    """Return the format that the extension of the file name stands for, or None."""
    suffix = PurePath(filename).suffix.lower()
    return next((image_format for image_format in ImageFormat if suffix in image_format.extensions), None)
