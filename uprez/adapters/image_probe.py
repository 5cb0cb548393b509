"""The Probe port: it reads format and sizes from the structure of a file and decodes no pixels.

The engine decodes images, in a child process, because the files are untrusted. Truncated files are rejected here,
before they use quota and a place in the queue.
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

_SWAPPING_ORIENTATIONS = {5, 6, 7, 8}
"""EXIF orientations that swap width and height (TIFF 6.0, tag 274)."""
_START_OF_SCAN = b"\xff\xda"
_END_OF_IMAGE = b"\xff\xd9"
_SEGMENT_LENGTH_BYTES = 2
_MAX_READS = 100_000
"""Limit of read calls. Real images need a few thousand. Pillow keeps most segments in memory: 10 MB of empty
JPEG segments need seconds and 300 MB.
"""
_GIF_SIGNATURES = {b"GIF87a", b"GIF89a"}
_OS2_HEADER_BYTES = 12
_BLOCK_BYTES = 64 * 1024
_FORMATS = {
    **{image_format.name: image_format for image_format in ImageFormat},
    "MPO": ImageFormat.JPEG,  # written by phones: a JPEG with further images after the first
}

# The caller checks the configured limit, which has its own error message.
Image.MAX_IMAGE_PIXELS = None


def probe(content: BinaryIO) -> ImageFacts:
    """Return format and displayed sizes of an image file, and always set the stream to its start.

    Raise InvalidImage when the file is truncated, damaged, without pixels, of another format or has too many
    parts. Limits of pixels and frames are not checked, and at most one frame more than the limit of the
    format is listed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the engine decides about the faults that Pillow only warns of
            return _facts(cast("BinaryIO", _LimitedReader(content)))
    except (InvalidImage, MemoryError):
        raise
    except Exception as error:
        # Pillow's parsers raise many types: OSError, SyntaxError, struct.error, TypeError …
        raise InvalidImage("This file is not a complete image of a supported format.") from error
    finally:
        content.seek(0)


class _LimitedReader:
    """A stream with a limited number of read calls; a further call raises InvalidImage."""

    def __init__(self, content: BinaryIO) -> None:
        self._left = _MAX_READS
        self._content = content
        self.seek = content.seek
        self.tell = content.tell

    def read(self, size: int = -1) -> bytes:
        """Read as the file does. Raise InvalidImage after too many calls.

        A file of many tiny parts would keep the parser busy for seconds.
        """
        self._left -= 1
        if self._left < 0:
            raise InvalidImage("This file has too many parts.")
        return self._content.read(size)


def _facts(content: BinaryIO) -> ImageFacts:
    """Return the format and the size of each frame or page as displayed, with the EXIF orientation applied.

    Raise InvalidImage or an exception of a parser; ``probe`` converts the latter.
    """
    content.seek(0)
    if content.read(6) in _GIF_SIGNATURES:
        return _gif_facts(content)
    content.seek(0)
    image = Image.open(content, formats=[image_format.name for image_format in ImageFormat])
    image_format = _FORMATS[image.format or ""]
    width, height = image.size
    if width < 1 or height < 1:
        raise InvalidImage("This image has no pixels.")
    sizes = _SIZES[image_format](image, content)
    if _swaps_width_and_height(image):
        sizes = [Size(height, width) for width, height in sizes]
    return ImageFacts(image_format, sizes[0], tuple(sizes[1:]))


def _frames(image: Image.Image, image_format: ImageFormat, count: int) -> list[Size]:
    """Return the stored canvas size once per frame, at most one more often than the format's limit of frames.

    The declared ``count`` can be any number; one frame more than the limit is enough for the caller to reject
    the file.
    """
    return [Size(*image.size)] * min(count, image_format.max_frames + 1)


def _swaps_width_and_height(image: Image.Image) -> bool:
    """Return True if the EXIF orientation swaps width and height.

    Only the EXIF block counts, as in the engine. Pillow's ``getexif`` also reads XMP, and decodes a PNG.
    Return False for TIFF, and for a missing or damaged block.
    """
    if image.format == ImageFormat.TIFF.name:
        return False  # Pillow has already applied the orientation of the first directory to the size
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return exif.get(ExifTags.Base.Orientation) in _SWAPPING_ORIENTATIONS
    except Exception:  # noqa: BLE001  # damaged metadata does not make the image unusable
        return False


def _jpeg_sizes(image: Image.Image, content: BinaryIO) -> list[Size]:
    """Return the stored size, as one item also for an MPO file with further images.

    Raise InvalidImage when a segment is damaged, or when no end-of-image marker follows the start of the
    first scan. Data after the marker is ignored.
    """
    scan = _start_of_scan(content)
    content.seek(scan)
    tail = b""
    while block := content.read(_BLOCK_BYTES):
        if _END_OF_IMAGE in tail + block:
            return [Size(*image.size)]
        tail = block[-1:]
    raise InvalidImage("This JPEG is truncated.")


def _start_of_scan(content: BinaryIO) -> int:
    """Return the offset after the marker and length field of the first scan, found by walking the segments.

    A segment may contain a thumbnail with its own end-of-image marker, so a search for the markers is not
    enough. Raise InvalidImage for a damaged segment, or when the file ends before the scan.
    """
    content.seek(2)
    while True:
        marker = content.read(2)
        while marker == b"\xff\xff":  # fill bytes (T.81, B.1.1.2)
            marker = b"\xff" + content.read(1)
        length = int.from_bytes(content.read(_SEGMENT_LENGTH_BYTES), "big")
        if not marker.startswith(b"\xff") or length < _SEGMENT_LENGTH_BYTES:
            raise InvalidImage("This JPEG is damaged.")
        if marker == _START_OF_SCAN:
            return content.tell()
        content.seek(length - _SEGMENT_LENGTH_BYTES, os.SEEK_CUR)


def _png_sizes(image: Image.Image, content: BinaryIO) -> list[Size]:
    """Return the canvas size once per frame.

    Raise InvalidImage when the checksum of a chunk is wrong or missing. Raise struct.error when the file ends
    before the IEND chunk; ignore data after it. Pillow does not check the checksums of pixel data when it
    opens a file. Also add an EXIF block that follows the pixels to ``image.info``, because Pillow has not
    read it at this point.
    """
    content.seek(8)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", content.read(8))
        checksum, end = zlib.crc32(kind), content.tell() + length
        while block := content.read(min(_BLOCK_BYTES, end - content.tell())):
            checksum = zlib.crc32(block, checksum)
            if kind == b"eXIf":
                image.info.setdefault("exif", block)
        if content.read(4) != checksum.to_bytes(4, "big"):
            raise InvalidImage("This PNG is damaged or truncated.")
    return _frames(image, ImageFormat.PNG, image.n_frames)  # type: ignore[attr-defined]


def _webp_sizes(image: Image.Image, content: BinaryIO) -> list[Size]:
    """Return the canvas size once per frame.

    Raise InvalidImage when the file is shorter than its header declares. The chunks are not read, and data
    after the declared length is ignored.
    """
    content.seek(4)
    declared = int.from_bytes(content.read(4), "little") + 8
    if content.seek(0, os.SEEK_END) < declared:
        raise InvalidImage("This WebP is truncated.")
    return _frames(image, ImageFormat.WEBP, image.n_frames)  # type: ignore[attr-defined]


def _gif_facts(content: BinaryIO) -> ImageFacts:
    """Return the size of the canvas, and for each further frame the extent of all frames.

    The stream must be after the signature. Read up to the trailer, or up to one frame more than the limit
    (GIF89a, sections 18 to 27); ignore data after the trailer. Pillow is not used because it allocates the
    area of the first frame when it opens a file, which can be 4 GB. Raise InvalidImage for a file without
    pixels; InvalidImage, struct.error or IndexError for a truncated one.
    """
    width, height, flags = struct.unpack("<HHB", content.read(5))
    content.seek(2 + _colour_table_bytes(flags), os.SEEK_CUR)
    frames, extent = 0, Size(width, height)
    while frames <= ImageFormat.GIF.max_frames and (kind := content.read(1)) != b";":
        if not kind:
            raise InvalidImage("This GIF is truncated.")
        if kind == b",":
            left, top, frame_width, frame_height, flags = struct.unpack("<HHHHB", content.read(9))
            # As in browsers, only the first frame enlarges the canvas; Pillow enlarges it with every frame.
            extent = Size(max(extent.width, left + frame_width), max(extent.height, top + frame_height))
            if frames == 0:
                width, height = extent
            frames += 1
            content.seek(_colour_table_bytes(flags) + 1, os.SEEK_CUR)
        elif kind == b"!":
            content.seek(1, os.SEEK_CUR)
        else:
            continue  # like Pillow, skip bytes between blocks that start no block
        size = content.read(1)[0]
        while size:
            size = content.read(size + 1)[size]
    if not frames or width < 1 or height < 1:
        raise InvalidImage("This image has no pixels.")
    canvas = Size(width, height)
    return ImageFacts(ImageFormat.GIF, canvas, (extent,) * (frames - 1))


def _colour_table_bytes(flags: int) -> int:
    """Return the size in bytes of the colour table that the flags of a GIF declare; 0 without one."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp_sizes(image: Image.Image, content: BinaryIO) -> list[Size]:
    """Return the size. Raise InvalidImage when the file ends before the last uncompressed row.

    Compressed files (RLE) are not checked; the decoder detects their missing rows.
    """
    content.seek(10)
    start, header = (int.from_bytes(content.read(4), "little") for _ in range(2))
    is_os2 = header == _OS2_HEADER_BYTES
    content.seek(24 if is_os2 else 28)
    bits = int.from_bytes(content.read(2), "little")
    compressed = not is_os2 and int.from_bytes(content.read(4), "little") not in {0, 3}
    row = (image.width * bits + 31) // 32 * 4
    if not compressed and content.seek(0, os.SEEK_END) < start + row * image.height:
        raise InvalidImage("This BMP is truncated.")
    return [Size(*image.size)]


def _tiff_sizes(image: Image.Image, content: BinaryIO) -> list[Size]:
    """Return the size of each page; later directories that are reduced copies or masks are not pages.

    Stop at one page more than the limit. Raise InvalidImage when a strip or tile of a page ends after the end
    of the file, or when there are too many directories.
    """
    sizes: list[Size] = []
    for directory in range(MAX_TIFF_DIRECTORIES):
        try:
            image.seek(directory)
        except EOFError:
            return sizes
        tags = image.tag_v2  # type: ignore[attr-defined]
        if not sizes or is_tiff_page(tags.get(TIFF_SUBFILE_TYPE, 0)):
            _check_offsets(tags, content)
            sizes.append(Size(*image.size))
        if len(sizes) > ImageFormat.TIFF.max_frames:
            return sizes
    raise InvalidImage("This file has too many parts.")


def _check_offsets(tags: Mapping[int, tuple[int, ...]], content: BinaryIO) -> None:
    """Raise InvalidImage when a strip or tile of the page ends after the end of the file.

    Missing offsets or lengths, and offsets without a length, are not errors here.
    """
    end = content.seek(0, os.SEEK_END)
    for offsets, counts in ((273, 279), (324, 325)):
        pairs = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        if any(offset + count > end for offset, count in pairs):
            raise InvalidImage("This TIFF is truncated.")


_SIZES: dict[ImageFormat, Callable[[Image.Image, BinaryIO], list[Size]]] = {
    ImageFormat.JPEG: _jpeg_sizes,
    ImageFormat.PNG: _png_sizes,
    ImageFormat.WEBP: _webp_sizes,
    ImageFormat.BMP: _bmp_sizes,
    ImageFormat.TIFF: _tiff_sizes,
}
"""Functions by format that return the stored size of each frame or page and raise InvalidImage."""
