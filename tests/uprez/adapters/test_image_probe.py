"""Format and sizes of uploaded files, found without decoding them."""

from __future__ import annotations

import io
import random
import resource
import struct
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from domain.errors import InvalidImage
from domain.formats import ImageFormat
from domain.ports import ImageFacts
from domain.sizing import Size
from uprez.adapters.image_probe import probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradients import MakeGradient

FORMATS = [image_format.name for image_format in ImageFormat]
WITH_EXIF = ["JPEG", "PNG", "WEBP", "TIFF"]


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 6), (300, 200), (1, 700)])
def test_probe_returns_format_and_size(gradient: MakeGradient, name: str, width: int, height: int) -> None:
    facts = probe(io.BytesIO(gradient(name, width, height)))

    assert facts == ImageFacts(ImageFormat[name], Size(width, height))


@pytest.mark.parametrize("name", WITH_EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_respects_the_orientation(gradient: MakeGradient, name: str, orientation: int) -> None:
    facts = probe(io.BytesIO(gradient(name, 8, 6, exif=exif(orientation))))

    assert facts.size == (Size(6, 8) if orientation >= 5 else Size(8, 6))


# Some programs write the EXIF block after the pixels, so that the rest of the file need not move.
def test_exif_after_the_pixels_counts(gradient: MakeGradient) -> None:
    png = gradient("PNG", 8, 6)
    exif_chunk = chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))

    assert probe(io.BytesIO(png[:-12] + exif_chunk + png[-12:])).size == Size(6, 8)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


# As in the engine, and in most programs that display images.
@pytest.mark.parametrize(
    ("name", "options"), [("JPEG", {"xmp": XMP}), ("WEBP", {"xmp": XMP}), ("TIFF", {"tiffinfo": {700: XMP}})]
)
def test_xmp_orientation_is_ignored(gradient: MakeGradient, name: str, options: dict[str, Any]) -> None:
    content = gradient(name, 8, 6, **options)

    assert XMP in content
    assert probe(io.BytesIO(content)).size == Size(8, 6)


@pytest.mark.parametrize("at", [33, -12])
def test_xmp_orientation_in_png_is_ignored(gradient: MakeGradient, at: int) -> None:
    png = gradient("PNG", 8, 6)
    xmp_chunk = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)

    assert probe(io.BytesIO(png[:at] + xmp_chunk + png[at:])).size == Size(8, 6)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_invalid_orientation_is_ignored(gradient: MakeGradient, orientation: int) -> None:
    assert probe(io.BytesIO(gradient("JPEG", 8, 6, exif=exif(orientation)))).size == Size(8, 6)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "broken", [b"", b"Exif\0\0", b"nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + bytes(3)]
)
def test_damaged_exif_is_accepted(gradient: MakeGradient, name: str, broken: bytes) -> None:
    assert probe(io.BytesIO(gradient(name, 8, 6, exif=broken))).size == Size(8, 6)


@pytest.mark.parametrize("name", FORMATS)
def test_stream_is_reset_to_its_start(gradient: MakeGradient, name: str) -> None:
    content = io.BytesIO(gradient(name))
    content.seek(7)
    probe(content)
    assert content.tell() == 0

    broken = io.BytesIO(gradient(name)[:-1])
    try:
        probe(broken)
    except InvalidImage:
        assert broken.tell() == 0
    assert not broken.closed


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.99])
def test_truncated_image_is_rejected(gradient: MakeGradient, name: str, share: float) -> None:
    content = gradient(name, 120, 90)

    with pytest.raises(InvalidImage):
        probe(io.BytesIO(content[: int(len(content) * share)]))


def test_animation_has_the_size_of_its_canvas() -> None:
    content = io.BytesIO()
    Image.new("P", (40, 30)).save(content, "GIF", save_all=True, append_images=[Image.new("P", (40, 30), 1)])

    assert probe(content).size == Size(40, 30)


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP"])
def test_every_frame_has_the_size_of_the_canvas(name: str) -> None:
    content = io.BytesIO()
    Image.new("RGB", (40, 30)).save(
        content, name, save_all=True, append_images=[Image.new("RGB", (40, 30), c) for c in ("red", "blue")]
    )

    assert probe(content) == ImageFacts(ImageFormat[name], Size(40, 30), (Size(40, 30),) * 2)


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
def test_orientation_applies_to_every_frame(name: str) -> None:
    content = io.BytesIO()
    other = Image.new("RGB", (40, 30), "red")
    Image.new("RGB", (40, 30)).save(content, name, save_all=True, append_images=[other], exif=exif(6))

    assert probe(content) == ImageFacts(ImageFormat[name], Size(30, 40), (Size(30, 40),))


def test_default_image_of_an_animated_png_counts() -> None:
    content = io.BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    Image.new("RGB", (40, 30)).save(content, "PNG", save_all=True, append_images=frames, default_image=True)

    assert len(probe(content).other_sizes) == 2


FRAME = b"\x21\xf9\x04\x04\x05\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0"
GIF_HEADER = b"GIF89a" + struct.pack("<HHBBB", 100, 100, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"


class CountingStream(io.BytesIO):
    """A stream that counts the bytes that were read."""

    bytes_read = 0

    def read(self, size: int | None = -1) -> bytes:
        block = super().read(size)
        self.bytes_read += len(block)
        return block


def test_gif_frames_are_read_up_to_one_over_the_limit() -> None:
    content = CountingStream(GIF_HEADER + FRAME * 10_000 + b";")

    facts = probe(content)

    assert len(facts.other_sizes) == ImageFormat.GIF.max_frames
    assert content.bytes_read < 400 * len(FRAME)


@pytest.mark.parametrize("disposal", range(4))
def test_largest_gif_frame_allocates_no_memory(disposal: int) -> None:
    control = b"\x21\xf9\x04" + bytes([disposal << 2 | 1]) + b"\5\0\0\0"
    huge = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\0"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    facts = probe(io.BytesIO(GIF_HEADER + control + huge + b";"))

    assert facts.size == Size(65_535, 65_535)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_largest_allowed_number_of_frames_is_read_to_the_end() -> None:
    whole = GIF_HEADER + FRAME * 200 + b";"

    assert len(probe(io.BytesIO(whole)).other_sizes) == 199
    with pytest.raises(InvalidImage):
        probe(io.BytesIO(whole[:-1]))


def test_declared_png_frames_count_up_to_one_over_the_limit(
    gradient: MakeGradient,
) -> None:
    png = gradient("PNG")
    animation_chunks = chunk(b"acTL", struct.pack(">II", 2**31, 0)) + chunk(
        b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 6, 0, 0, 1, 10, 0, 0)
    )

    assert (
        len(probe(io.BytesIO(png[:33] + animation_chunks + png[33:])).other_sizes)
        == ImageFormat.PNG.max_frames
    )


@pytest.mark.parametrize("trailing", [b"\0" * 9, b"x", b"trailing data" * 9999])
def test_data_after_the_end_of_a_gif_is_ignored(gradient: MakeGradient, trailing: bytes) -> None:
    assert probe(io.BytesIO(gradient("GIF", 40, 30) + trailing)).size == Size(40, 30)


# The file ends within a block, after a byte that has the value of the trailer.
def test_gif_with_a_false_trailer_is_rejected(gradient: MakeGradient) -> None:
    comment = b"\x21\xfe\x02x;\0"

    with pytest.raises(InvalidImage):
        probe(io.BytesIO(gradient("GIF")[:-1] + comment[:-1]))


# Such a frame enlarges the canvas in the engine, so it counts towards the limit of pixels.
def test_gif_frame_outside_the_canvas_enlarges_it() -> None:
    frames = [
        b"," + struct.pack("<HHHHB", at, at, 1, 1, 0) + b"\x02\x02\x4c\x01\0" for at in (0, 15_999, 15_999)
    ]
    header = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0x80, 0, 0) + bytes(6)

    facts = probe(io.BytesIO(header + b"".join(frames) + b";"))

    assert facts.size == (10, 10)
    assert facts.other_sizes == ((16_000, 16_000),) * 2


def test_gif_with_many_frames_is_read_to_the_end() -> None:
    frames = [Image.effect_noise((64, 64), 90).convert("P") for _ in range(50)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    whole = content.getvalue()

    assert probe(io.BytesIO(whole)).size == Size(64, 64)
    with pytest.raises(InvalidImage):
        probe(io.BytesIO(whole[: len(whole) // 2]))


def tiff_of(*pages: tuple[Image.Image, dict[int, int]]) -> bytes:
    """Return a TIFF file with these pages and their tags."""
    content = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(content) as tiff:
        for image, tags in pages:
            image.save(tiff, "TIFF", tiffinfo=tags)
            tiff.newFrame()
    return content.getvalue()


def test_each_tiff_page_has_its_own_size() -> None:
    content = tiff_of((Image.new("L", (40, 30)), {}), (Image.new("RGB", (80, 60)), {274: 6}))

    assert probe(io.BytesIO(content)) == ImageFacts(ImageFormat.TIFF, Size(40, 30), (Size(60, 80),))


@pytest.mark.parametrize("subfile_type", [1, 4])
def test_reduced_copies_and_masks_are_no_pages(subfile_type: int) -> None:
    small = Image.new("L", (20, 15))
    content = tiff_of((Image.new("L", (40, 30)), {}), (small, {254: subfile_type}), (small, {254: 2}))

    assert probe(io.BytesIO(content)).other_sizes == (Size(20, 15),)


def test_tiff_pages_are_read_up_to_one_over_the_limit() -> None:
    content = tiff_of(*[(Image.new("L", (2, 2)), {})] * 60)

    assert len(probe(io.BytesIO(content)).other_sizes) == ImageFormat.TIFF.max_frames


def test_tiff_with_a_truncated_page_is_rejected() -> None:
    content = bytearray(tiff_of((Image.new("L", (4, 3)), {}), (Image.new("L", (4, 3)), {})))
    counts = struct.pack("<HHI", 279, 4, 1) + struct.pack("<I", 12)
    at = content.rindex(counts) + 8
    content[at : at + 4] = struct.pack("<I", 1000)

    with pytest.raises(InvalidImage, match="truncated"):
        probe(io.BytesIO(bytes(content)))


def _jpeg_with(segments: bytes) -> Callable[[MakeGradient], bytes]:
    return lambda gradient: gradient("JPEG")[:2] + segments + gradient("JPEG")[2:]


def _png_with(chunks: bytes) -> Callable[[MakeGradient], bytes]:
    return lambda gradient: gradient("PNG")[:33] + chunks + gradient("PNG")[33:]


def _gif_with(blocks: bytes) -> Callable[[MakeGradient], bytes]:
    def make(gradient: MakeGradient) -> bytes:
        gif = gradient("GIF")
        at = gif.index(b",", 13)
        return gif[:at] + blocks + gif[at:]

    return make


MANY_PARTS = {
    "fill bytes": _jpeg_with(b"\xff" * 9_000_000),
    "escaped bytes": _jpeg_with(b"\xff\x00" * 4_500_000),
    "empty segments": _jpeg_with(b"\xff\xe5\x00\x02" * 2_300_000),
    "comments": _jpeg_with(b"\xff\xfe\x00\x02" * 2_300_000),
    "segments of length 0": _jpeg_with(b"\xff\xe5\x00\x00" * 2_300_000),
    "empty chunks": _png_with(chunk(b"xxXx", b"") * 800_000),
    "texts": _png_with(chunk(b"tEXt", b"k\0x") * 600_000),
    "empty pixels": _png_with(chunk(b"IDAT", b"") * 800_000),
    "GIF comments": _gif_with(b"\x21\xfe\x01x\x00" * 1_800_000),
    "one GIF comment": _gif_with(b"\x21\xfe" + b"\x01x" * 4_500_000 + b"\0"),
    "GIF extensions": _gif_with(b"\x21\x01\x01x\x00" * 1_800_000),
    "GIF padding": _gif_with(bytes(9_000_000)),
}


# Pillow would read these for seconds and keep them in memory.
@pytest.mark.parametrize("kind", MANY_PARTS)
def test_image_with_too_many_parts_is_rejected(gradient: MakeGradient, kind: str) -> None:
    content = io.BytesIO(MANY_PARTS[kind](gradient))
    began = time.process_time()

    with pytest.raises(InvalidImage):
        probe(content)

    assert time.process_time() - began < 3


def test_largest_colour_profile_is_accepted(gradient: MakeGradient) -> None:
    content = gradient("JPEG", icc_profile=bytes(255 * 60_000))

    assert probe(io.BytesIO(content)).size == Size(8, 6)


# The caller knows the limit and has an error message for it.
def test_size_above_every_limit_is_returned(gradient: MakeGradient) -> None:
    png = gradient("PNG")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))

    assert probe(io.BytesIO(png[:8] + header + png[33:])).size == Size(2**31 - 1, 2**31 - 1)


# Seeded, so that a failure can be reproduced.
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_file_raises_only_invalid_image(gradient: MakeGradient, name: str) -> None:
    random_source = random.Random(name)
    whole = gradient(name, 24, 16, **({"exif": exif(6)} if name in WITH_EXIF else {}))
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(random_source.randint(1, 6)):
            content[random_source.randrange(len(content))] = random_source.choice(
                [0, 1, 0x7F, 0x80, 0xFF, random_source.randrange(256)]
            )
        try:
            facts = probe(io.BytesIO(bytes(content)))
        except InvalidImage:
            continue
        assert facts.size.width > 0
        assert facts.size.height > 0
