"""Write several images into one file, one after the other: an animation or the pages of a TIFF.

Pillow's own writers keep all frames of an iterator until the last one has come (GIF, PNG, TIFF), and merge
equal frames of a GIF. Here at most two frames are in memory, and none is left out.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import GifImagePlugin, Image, TiffImagePlugin

from domain.formats import ImageFormat
from workers.engine.codecs.encode import HALF_OPAQUE, atomic_write, save_options, to_palette, write
from workers.engine.codecs.metadata import EXIF_DIRECTORIES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from workers.engine.arrays import Pixels, Pixels16
    from workers.engine.codecs.decode import Encoding
    from workers.engine.codecs.decode_frames import Timing
    from workers.engine.codecs.metadata import Metadata

    Box = tuple[int, int, int, int]  # left, top, right, bottom
    Images = Iterator[tuple[Image.Image | Pixels16, Metadata]]

GIF_KEEP, GIF_CLEAR = 1, 2  # the disposal of a frame (GIF89a, 23)
GIF_FULL_PALETTE_BYTES = 3 * 256
PNG_SIGNATURE_BYTES = 8
WEBP_METHOD = 4  # libwebp's default, as for a single image; Pillow's default for animations is 0


class _GifFrame(NamedTuple):
    image: Image.Image
    box: Box


def encode_frames(images: Images, encoding: Encoding, timing: Timing | None, target: Path) -> None:
    """Write the frames, or without ``timing`` the pages, to ``target``, which never exists half-written.

    The images are consumed one by one, each with its metadata; an animation uses the first one's. All frames
    of an animation have one mode and size. Raise OSError when the disk cannot store the file.
    """
    with atomic_write(target) as file:
        if timing is None:
            _write_tiff(images, encoding, file)
        elif encoding.image_format is ImageFormat.WEBP:
            _write_webp(images, encoding, timing, file)
        elif encoding.image_format is ImageFormat.PNG:
            with file.open("wb") as out:
                _write_png(images, encoding, timing, out)
        else:
            with file.open("wb") as out:
                _write_gif(images, timing, out)


def _write_tiff(images: Images, encoding: Encoding, file: Path) -> None:
    """Write a TIFF with a page for each image, and replace ``file``; one page at a time is in memory.

    Only the first page keeps a camera's directories.
    """
    with TiffImagePlugin.AppendingTiffWriter(file, new=True) as out:
        for index, (image, metadata) in enumerate(images):
            page = io.BytesIO()
            write(image, encoding, metadata if index == 0 else _without_directories(metadata), page)
            out.write(page.getvalue())
            out.newFrame()


def _without_directories(metadata: Metadata) -> Metadata:
    """Return the metadata without the EXIF directories of camera and position.

    Pillow does not update their addresses when it moves a page.
    """
    if metadata.exif is None:
        return metadata
    notes, unchanged = Image.Exif(), Image.Exif()
    notes.load(metadata.exif)
    unchanged.update({tag: value for tag, value in notes.items() if tag not in EXIF_DIRECTORIES})
    return replace(metadata, exif=unchanged.tobytes() if unchanged else None)


class _FrameSequence(Image.Image):
    """An image of several frames for a writer that seeks; each frame is fetched once and cannot be sought
    again.
    """

    def __init__(self, images: Images, count: int) -> None:
        """Fetch the first image; ``count`` is the number of all."""
        super().__init__()
        self.n_frames = count
        self._images = images
        self._position = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Take the next image and its metadata if ``frame`` is after the current one.

        Earlier frames stay as they are. The frames must be read in order, one by one.
        """
        if frame > self._position:
            image, self.metadata = next(self._images)
            assert isinstance(image, Image.Image)
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self._position = frame

    def tell(self) -> int:
        return self._position


def _write_webp(images: Images, encoding: Encoding, timing: Timing, file: Path) -> None:
    """Write a WebP; the encoder merges equal frames in a row into one with their total display time."""
    sequence = _FrameSequence(images, len(timing.milliseconds))
    options = save_options(sequence, encoding, sequence.metadata)
    if "exif" in options:  # Pillow removes it only for a single image
        options["exif"] = options["exif"].removeprefix(b"Exif\0\0")
    sequence.save(
        file,
        format="webp",
        save_all=True,
        duration=timing.milliseconds,
        loop=timing.loop or 0,
        method=WEBP_METHOD,
        **options,
    )


def _write_png(images: Images, encoding: Encoding, timing: Timing, out: BinaryIO) -> None:
    """Write an APNG: the first frame whole, of each later frame the box that differs from the frame before.

    https://www.w3.org/TR/png-3/#apng-frame-based-animation
    """
    numbers = itertools.count()
    previous: Image.Image | Pixels16 | None = None
    for index, ((image, metadata), milliseconds) in enumerate(zip(images, timing.milliseconds, strict=True)):
        left, top, right, bottom = _full_box(image) if previous is None else _changed_box(previous, image)
        alone = io.BytesIO()
        if isinstance(image, np.ndarray):
            write(image[top:bottom, left:right], encoding, metadata, alone)
        else:
            write(image.crop((left, top, right, bottom)), encoding, metadata, alone)
        chunks = list(_chunks(alone.getvalue()))
        pixels = [data for kind, data in chunks if kind == b"IDAT"]
        if index == 0:
            out.write(alone.getvalue()[:PNG_SIGNATURE_BYTES])
            for kind, data in itertools.takewhile(lambda chunk: chunk[0] != b"IDAT", chunks):
                _write_chunk(out, kind, data)
            shown = len(timing.milliseconds) - timing.hidden_first
            _write_chunk(out, b"acTL", struct.pack(">II", shown, timing.loop or 0))
        if index > 0 or not timing.hidden_first:
            delay = Fraction(milliseconds / 1000).limit_denominator(65_535)
            box = (right - left, bottom - top, left, top)
            # The frame stays after its time (disposal 0) and replaces the pixels below, alpha included (blend
            # 0).
            control = struct.pack(">IIIIIHHBB", next(numbers), *box, delay.numerator, delay.denominator, 0, 0)
            _write_chunk(out, b"fcTL", control)
            previous = image
        for data in pixels:
            if index == 0:
                _write_chunk(out, b"IDAT", data)
            else:
                _write_chunk(out, b"fdAT", struct.pack(">I", next(numbers)) + data)
    _write_chunk(out, b"IEND", b"")


def _full_box(image: Image.Image | Pixels16) -> tuple[int, int, int, int]:
    """Return the box of the whole image: left, top, right, bottom."""
    if isinstance(image, np.ndarray):
        height, width, _ = image.shape
        return (0, 0, width, height)
    return (0, 0, *image.size)


def _changed_box(previous: Image.Image | Pixels16, after: Image.Image | Pixels16) -> Box:
    """Return the smallest box with all pixels that differ in any channel, as ``_bounding_box`` does without
    any.
    """
    changed = np.asarray(previous) != np.asarray(after)
    return _bounding_box(changed if changed.ndim == 2 else changed.any(axis=2))  # noqa: PLR2004  # 16-bit frames have channels


def _bounding_box(mask: NDArray[np.bool_]) -> Box:
    """Return the smallest box around all True values.

    It is one pixel if there are none, because the formats have no empty frame.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, 1, 1)
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and data of each chunk of a well-formed PNG, in order; the checksums are not verified."""
    position = PNG_SIGNATURE_BYTES
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        yield kind, png[position + 8 : position + 8 + length]
        position += 12 + length


def _write_chunk(out: BinaryIO, kind: bytes, data: bytes) -> None:
    """Write one PNG chunk: length, type, data, checksum."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    out.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum))


def _write_gif(images: Images, timing: Timing, out: BinaryIO) -> None:
    """Write a GIF with a palette for each frame.

    Unchanged pixels are not drawn again, so that they do not flicker. Only a frame in which pixels disappear
    clears the canvas and draws everything again.
    """
    previous: Pixels | None = None
    pending: _GifFrame | None = None  # not written yet: the next frame decides whether it is cleared
    duration = 0.0
    for (image, _), milliseconds in zip(images, timing.milliseconds, strict=True):
        assert isinstance(image, Image.Image)
        current = _visible_pixels(image)
        if previous is None or pending is None:
            _write_gif_header(out, image, timing.loop)
            unchanged = np.zeros(current.shape[:2], bool)
        else:
            vanishing = bool((previous[..., 3] > current[..., 3]).any())
            _write_gif_frame(out, pending, image.size, duration, GIF_CLEAR if vanishing else GIF_KEEP)
            unchanged = np.full(current.shape[:2], not vanishing) & (previous == current).all(axis=2)
        pending = _to_gif_frame(image, current, unchanged)
        previous, duration, size = current, milliseconds, image.size
    assert pending is not None
    # Some programs do not clear the canvas before a repetition; without a repetition the last frame stays.
    _write_gif_frame(out, pending, size, duration, GIF_KEEP if timing.loop is None else GIF_CLEAR)
    out.write(b";")


def _visible_pixels(image: Image.Image) -> Pixels:
    """Return ``(H, W, 4)`` with alpha 255 for visible pixels and all zeros for the others."""
    pixels = np.array(image.convert("RGBA"))
    there = pixels[..., 3] >= HALF_OPAQUE
    pixels[..., 3] = 255
    pixels[~there] = 0
    return pixels


def _to_gif_frame(image: Image.Image, seen: Pixels, unchanged: NDArray[np.bool_]) -> _GifFrame:
    """Return the box with the pixels that changed, the others transparent, with a palette of exactly 256
    entries.

    An opaque image without unchanged pixels is returned whole.
    """
    box = (0, 0, *image.size)
    if image.mode in {"LA", "RGBA"} or unchanged.any():
        mask = (seen[..., 3] > 0) & ~unchanged
        image = image.convert("RGBA")
        image.putalpha(Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)))
        if unchanged.any():
            box = _bounding_box(mask)
    else:
        image = image.convert("RGB")
    pending = to_palette(image.crop(box))
    pending.putpalette(bytes(pending.getpalette() or b"").ljust(GIF_FULL_PALETTE_BYTES, b"\0"))
    return _GifFrame(pending, box)


def _write_gif_header(out: BinaryIO, image: Image.Image, loop: int | None) -> None:
    """Write the header with the canvas's size, without a global palette; ``loop`` None writes no loop block."""
    # The flags say 8 bits for each colour and no common palette.
    out.write(b"GIF89a" + struct.pack("<HHBBB", *image.size, 0x70, 0, 0))
    if loop is not None:
        out.write(b"\x21\xff\x0bNETSCAPE2.0" + struct.pack("<BBHB", 3, 1, loop, 0))


def _write_gif_frame(
    out: BinaryIO, pending: _GifFrame, canvas: tuple[int, int], milliseconds: float, disposal: int
) -> None:
    """Write one frame with its own palette, at its place on the canvas.

    A frame that clears the canvas afterwards is extended to the whole canvas with transparent pixels.
    """
    image, (left, top, *_) = pending
    transparent = image.info.get("transparency")
    options = {} if transparent is None else {"transparency": transparent}
    if disposal == GIF_CLEAR and image.size != canvas:  # only the area of a frame is cleared
        full = Image.new("P", canvas, transparent)
        full.putpalette(image.getpalette() or b"")
        full.paste(image, (left, top))
        image, left, top = full, 0, 0
    blocks = GifImagePlugin.getdata(
        image, (left, top), duration=milliseconds, disposal=disposal, include_color_table=True, **options
    )
    out.writelines(blocks)
