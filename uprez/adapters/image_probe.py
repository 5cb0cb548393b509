"""What an uploaded file is, from its first bytes and its structure; no picture is decoded here.

Decoding a stranger's picture is the engine's job, in a child process. But a file that visibly was
cut off is refused at the door, before it costs quota and a place in the queue.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from PIL import ExifTags, Image

from domain.errors import InvalidImage
from domain.formats import MAX_TIFF_DIRECTORIES, TIFF_SUBFILE_TYPE, ImageFormat, is_tiff_page
from domain.ports import ImageFacts
from domain.sizing import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SIDEWAYS = {5, 6, 7, 8}
"""EXIF orientations that swap width and height (TIFF 6.0, tag 274)."""
_END_OF_IMAGE = b"\xff\xd9"
_MAX_PIECES = 100_000
"""Pictures consist of a few thousand at most. Pillow keeps most of what it meets: ten megabytes of empty
JPEG segments would cost it seconds and 300 MB.
"""
_GIF_SIGNATURES = {b"GIF87a", b"GIF89a"}
_OS2_HEADER_BYTES = 12
_SEARCH_BYTES = 64 * 1024
_FORMATS = {
    **{image_format.name: image_format for image_format in ImageFormat},
    "MPO": ImageFormat.JPEG,  # what phones write: a JPEG with further pictures behind the first
}

# Our caps are the operator's, and checked by the caller with a sentence of their own.
Image.MAX_IMAGE_PIXELS = None


def probe(content: BinaryIO) -> ImageFacts:
    """The Probe port. Raises PictureError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow forgives is for the engine to judge
            return _facts(cast("BinaryIO", _Pieces(content)))
    except (InvalidImage, MemoryError):
        raise
    except Exception as reason:
        # Pillow's parsers raise whatever they stumble on: OSError, SyntaxError, struct.error, TypeError …
        raise InvalidImage("This is no complete picture of a known format.") from reason
    finally:
        content.seek(0)


class _Pieces:
    """A stream that is read in a bounded number of pieces. Raises PictureError beyond it."""

    def __init__(self, content: BinaryIO) -> None:
        self._left = _MAX_PIECES
        self._content = content
        self.seek = content.seek
        self.tell = content.tell

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise InvalidImage("This file consists of too many pieces.")
        return self._content.read(size)


def _facts(content: BinaryIO) -> ImageFacts:
    content.seek(0)
    if content.read(6) in _GIF_SIGNATURES:
        return _gif_facts(content)
    content.seek(0)
    picture = Image.open(content, formats=[image_format.name for image_format in ImageFormat])
    image_format = _FORMATS[picture.format or ""]
    width, height = picture.size
    if width < 1 or height < 1:
        raise InvalidImage("This picture has no pixels.")
    sizes = _SIZES[image_format](picture, content)
    if _lies_on_its_side(picture):
        sizes = [Size(height, width) for width, height in sizes]
    return ImageFacts(image_format, sizes[0], tuple(sizes[1:]))


def _frames(picture: Image.Image, image_format: ImageFormat, count: int) -> list[Size]:
    """So many of the canvas's size; what a file says of more than we take is not believed, nor needed."""
    return [Size(*picture.size)] * min(count, image_format.max_frames + 1)


def _lies_on_its_side(picture: Image.Image) -> bool:
    """By its EXIF block alone, as the engine turns it; Pillow's ``getexif`` would ask XMP too, and decode a PNG."""
    if picture.format == ImageFormat.TIFF.name:
        return False  # Pillow has applied the first directory's orientation to its size already
    notes = Image.Exif()
    try:
        notes.load(picture.info.get("exif", b""))
        return notes.get(ExifTags.Base.Orientation) in _SIDEWAYS
    except Exception:  # noqa: BLE001  # a broken note about a picture is no reason to refuse the picture
        return False


def _jpeg_sizes(picture: Image.Image, content: BinaryIO) -> list[Size]:
    """An end-of-image marker behind the start of the scan; what follows it is nobody's business."""
    scan = _start_of_scan(content)
    content.seek(scan)
    tail = b""
    while block := content.read(_SEARCH_BYTES):
        if _END_OF_IMAGE in tail + block:
            return [Size(*picture.size)]
        tail = block[-1:]
    raise InvalidImage("This JPEG is cut off.")


def _start_of_scan(content: BinaryIO) -> int:
    """Walks the segments, so that the end of a thumbnail within one is not taken for the picture's."""
    content.seek(2)
    while True:
        marker = content.read(2)
        while marker == b"\xff\xff":  # fill bytes (T.81, B.1.1.2)
            marker = b"\xff" + content.read(1)
        length = int.from_bytes(content.read(2), "big")
        if len(marker) < 2 or marker[0] != 0xFF or length < 2:  # noqa: PLR2004
            raise InvalidImage("This JPEG is damaged.")
        if marker[1] == 0xDA:  # noqa: PLR2004
            return content.tell()
        content.seek(length - 2, os.SEEK_CUR)


def _png_sizes(picture: Image.Image, content: BinaryIO) -> list[Size]:
    """Every chunk is there with its checksum, which loading forgives.

    Also finds the EXIF block behind the picture, where Pillow has not looked yet.
    """
    content.seek(8)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", content.read(8))
        checksum, end = zlib.crc32(kind), content.tell() + length
        while block := content.read(min(_SEARCH_BYTES, end - content.tell())):
            checksum = zlib.crc32(block, checksum)
            if kind == b"eXIf":
                picture.info.setdefault("exif", block)
        if content.read(4) != checksum.to_bytes(4, "big"):
            raise InvalidImage("This PNG is damaged or cut off.")
    return _frames(picture, ImageFormat.PNG, picture.n_frames)  # type: ignore[attr-defined]


def _webp_sizes(picture: Image.Image, content: BinaryIO) -> list[Size]:
    content.seek(4)
    declared = int.from_bytes(content.read(4), "little") + 8
    if content.seek(0, os.SEEK_END) < declared:
        raise InvalidImage("This WebP is cut off.")
    return _frames(picture, ImageFormat.WEBP, picture.n_frames)  # type: ignore[attr-defined]


def _gif_facts(content: BinaryIO) -> ImageFacts:
    """Block for block up to the trailer, or to a frame too many (GIF89a, 18 to 27).

    What follows the trailer is nobody's business. Without Pillow, which fills the area of the first frame when
    it opens a file: four gigabytes, if the file says so.
    """
    width, height, flags = struct.unpack("<HHB", content.read(5))
    content.seek(2 + _colours(flags), os.SEEK_CUR)
    frames, drawn = 0, Size(width, height)
    while frames <= ImageFormat.GIF.max_frames and (kind := content.read(1)) != b";":
        if not kind:
            raise InvalidImage("This GIF is cut off.")
        if kind == b",":
            left, top, across, down, flags = struct.unpack("<HHHHB", content.read(9))
            # The canvas grows with the first frame, as in browsers; while Pillow reads, with every one.
            drawn = Size(max(drawn.width, left + across), max(drawn.height, top + down))
            if frames == 0:
                width, height = drawn
            frames += 1
            content.seek(_colours(flags) + 1, os.SEEK_CUR)
        elif kind == b"!":
            content.seek(1, os.SEEK_CUR)
        else:
            continue  # between blocks Pillow passes over whatever is none
        size = content.read(1)[0]
        while size:
            size = content.read(size + 1)[size]
    if not frames or width < 1 or height < 1:
        raise InvalidImage("This picture has no pixels.")
    canvas = Size(width, height)
    return ImageFacts(ImageFormat.GIF, canvas, (drawn,) * (frames - 1))


def _colours(flags: int) -> int:
    """The bytes of the table that such flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp_sizes(picture: Image.Image, content: BinaryIO) -> list[Size]:
    """Uncompressed rows are all there (compressed ones tell when they are read)."""
    content.seek(10)
    start, header = (int.from_bytes(content.read(4), "little") for _ in range(2))
    of_os2 = header == _OS2_HEADER_BYTES
    content.seek(24 if of_os2 else 28)
    bits = int.from_bytes(content.read(2), "little")
    compressed = not of_os2 and int.from_bytes(content.read(4), "little") not in {0, 3}
    row = (picture.width * bits + 31) // 32 * 4
    if not compressed and content.seek(0, os.SEEK_END) < start + row * picture.height:
        raise InvalidImage("This BMP is cut off.")
    return [Size(*picture.size)]


def _tiff_sizes(picture: Image.Image, content: BinaryIO) -> list[Size]:
    """Every strip or tile that a page names lies within the file."""
    sizes: list[Size] = []
    for directory in range(MAX_TIFF_DIRECTORIES):
        try:
            picture.seek(directory)
        except EOFError:
            return sizes
        tags = picture.tag_v2  # type: ignore[attr-defined]
        if not sizes or is_tiff_page(tags.get(TIFF_SUBFILE_TYPE, 0)):
            _check_pieces(tags, content)
            sizes.append(Size(*picture.size))
        if len(sizes) > ImageFormat.TIFF.max_frames:
            return sizes
    raise InvalidImage("This file consists of too many pieces.")


def _check_pieces(tags: Mapping[int, tuple[int, ...]], content: BinaryIO) -> None:
    end = content.seek(0, os.SEEK_END)
    for offsets, counts in ((273, 279), (324, 325)):
        pairs = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        if any(offset + count > end for offset, count in pairs):
            raise InvalidImage("This TIFF is cut off.")


_SIZES: dict[ImageFormat, Callable[[Image.Image, BinaryIO], list[Size]]] = {
    ImageFormat.JPEG: _jpeg_sizes,
    ImageFormat.PNG: _png_sizes,
    ImageFormat.WEBP: _webp_sizes,
    ImageFormat.BMP: _bmp_sizes,
    ImageFormat.TIFF: _tiff_sizes,
}
"""Format → the sizes of all its frames or pages, as they are stored. Raises PictureError for what is cut off."""
