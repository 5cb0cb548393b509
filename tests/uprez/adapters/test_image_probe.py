"""What an uploaded file is, without decoding it."""

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
def test_format_and_size_are_found(gradient: MakeGradient, name: str, width: int, height: int) -> None:
    facts = probe(io.BytesIO(gradient(name, width, height)))

    assert facts == ImageFacts(ImageFormat[name], Size(width, height))


@pytest.mark.parametrize("name", WITH_EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_picture_as_displayed(
    gradient: MakeGradient, name: str, orientation: int
) -> None:
    facts = probe(io.BytesIO(gradient(name, 8, 6, exif=exif(orientation))))

    assert facts.size == (Size(6, 8) if orientation >= 5 else Size(8, 6))


def test_an_orientation_noted_behind_the_picture_counts(gradient: MakeGradient) -> None:
    """Where some programs write it, so as not to move the rest of the file."""
    png = gradient("PNG", 8, 6)
    note = chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))

    assert probe(io.BytesIO(png[:-12] + note + png[-12:])).size == Size(6, 8)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("name", "options"), [("JPEG", {"xmp": XMP}), ("WEBP", {"xmp": XMP}), ("TIFF", {"tiffinfo": {700: XMP}})]
)
def test_an_orientation_noted_as_xmp_is_none(
    gradient: MakeGradient, name: str, options: dict[str, Any]
) -> None:
    """As for the engine, and for most programs that show pictures."""
    content = gradient(name, 8, 6, **options)

    assert XMP in content
    assert probe(io.BytesIO(content)).size == Size(8, 6)


@pytest.mark.parametrize("at", [33, -12])
def test_an_orientation_noted_as_xmp_in_a_png_is_none(gradient: MakeGradient, at: int) -> None:
    png = gradient("PNG", 8, 6)
    note = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)

    assert probe(io.BytesIO(png[:at] + note + png[at:])).size == Size(8, 6)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_of_no_sense_is_none(gradient: MakeGradient, orientation: int) -> None:
    assert probe(io.BytesIO(gradient("JPEG", 8, 6, exif=exif(orientation)))).size == Size(8, 6)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "broken", [b"", b"Exif\0\0", b"nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + bytes(3)]
)
def test_broken_notes_are_no_reason_to_refuse(gradient: MakeGradient, name: str, broken: bytes) -> None:
    assert probe(io.BytesIO(gradient(name, 8, 6, exif=broken))).size == Size(8, 6)


@pytest.mark.parametrize("name", FORMATS)
def test_the_stream_stands_at_its_start_before_and_after(gradient: MakeGradient, name: str) -> None:
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
def test_a_picture_that_was_cut_off_is_refused(gradient: MakeGradient, name: str, share: float) -> None:
    content = gradient(name, 120, 90)

    with pytest.raises(InvalidImage):
        probe(io.BytesIO(content[: int(len(content) * share)]))


def test_an_animation_has_the_size_of_its_canvas() -> None:
    content = io.BytesIO()
    Image.new("P", (40, 30)).save(content, "GIF", save_all=True, append_images=[Image.new("P", (40, 30), 1)])

    assert probe(content).size == Size(40, 30)


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP"])
def test_every_frame_of_an_animation_has_the_size_of_its_canvas(name: str) -> None:
    content = io.BytesIO()
    Image.new("RGB", (40, 30)).save(
        content, name, save_all=True, append_images=[Image.new("RGB", (40, 30), c) for c in ("red", "blue")]
    )

    assert probe(content) == ImageFacts(ImageFormat[name], Size(40, 30), (Size(40, 30),) * 2)


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
def test_an_animation_on_its_side_is_so_in_every_frame(name: str) -> None:
    content = io.BytesIO()
    other = Image.new("RGB", (40, 30), "red")
    Image.new("RGB", (40, 30)).save(content, name, save_all=True, append_images=[other], exif=exif(6))

    assert probe(content) == ImageFacts(ImageFormat[name], Size(30, 40), (Size(30, 40),))


def test_a_png_shown_by_programs_that_know_no_animations_counts_too() -> None:
    content = io.BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    Image.new("RGB", (40, 30)).save(content, "PNG", save_all=True, append_images=frames, default_image=True)

    assert len(probe(content).further) == 2


FRAME = b"\x21\xf9\x04\x04\x05\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0"
GIF_HEADER = b"GIF89a" + struct.pack("<HHBBB", 100, 100, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"


class Counted(io.BytesIO):
    """Knows how much of it was read."""

    bytes_read = 0

    def read(self, size: int | None = -1) -> bytes:
        block = super().read(size)
        self.bytes_read += len(block)
        return block


def test_of_ten_thousand_frames_only_one_too_many_are_looked_at() -> None:
    content = Counted(GIF_HEADER + FRAME * 10_000 + b";")

    facts = probe(content)

    assert len(facts.further) == ImageFormat.GIF.max_frames
    assert content.bytes_read < 400 * len(FRAME)


@pytest.mark.parametrize("disposal", range(4))
def test_a_frame_as_large_as_gif_allows_takes_no_memory(disposal: int) -> None:
    control = b"\x21\xf9\x04" + bytes([disposal << 2 | 1]) + b"\5\0\0\0"
    huge = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\0"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    facts = probe(io.BytesIO(GIF_HEADER + control + huge + b";"))

    assert facts.size == Size(65_535, 65_535)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_as_many_frames_as_are_allowed_are_walked_to_the_end() -> None:
    whole = GIF_HEADER + FRAME * 200 + b";"

    assert len(probe(io.BytesIO(whole)).further) == 199
    with pytest.raises(InvalidImage):
        probe(io.BytesIO(whole[:-1]))


def test_a_png_that_announces_endlessly_many_frames_is_believed_up_to_one_too_many(
    gradient: MakeGradient,
) -> None:
    png = gradient("PNG")
    announced = chunk(b"acTL", struct.pack(">II", 2**31, 0)) + chunk(
        b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 6, 0, 0, 1, 10, 0, 0)
    )

    assert len(probe(io.BytesIO(png[:33] + announced + png[33:])).further) == ImageFormat.PNG.max_frames


@pytest.mark.parametrize("behind", [b"\0" * 9, b"x", b"made with care" * 9999])
def test_what_stands_behind_the_end_of_a_gif_is_ignored(gradient: MakeGradient, behind: bytes) -> None:
    assert probe(io.BytesIO(gradient("GIF", 40, 30) + behind)).size == Size(40, 30)


def test_a_gif_that_only_seems_to_end_is_refused(gradient: MakeGradient) -> None:
    """Cut within a block, just behind the byte that would be its trailer."""
    comment = b"\x21\xfe\x02x;\0"

    with pytest.raises(InvalidImage):
        probe(io.BytesIO(gradient("GIF")[:-1] + comment[:-1]))


# The engine's canvas grows with it, so the caps on pixels count it.
def test_a_gifs_frame_beyond_its_canvas_counts_as_large_as_it_makes_the_canvas() -> None:
    frames = [
        b"," + struct.pack("<HHHHB", at, at, 1, 1, 0) + b"\x02\x02\x4c\x01\0" for at in (0, 15_999, 15_999)
    ]
    header = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0x80, 0, 0) + bytes(6)

    facts = probe(io.BytesIO(header + b"".join(frames) + b";"))

    assert facts.size == (10, 10)
    assert facts.further == ((16_000, 16_000),) * 2


def test_a_gif_of_many_frames_is_walked_to_its_end() -> None:
    frames = [Image.effect_noise((64, 64), 90).convert("P") for _ in range(50)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    whole = content.getvalue()

    assert probe(io.BytesIO(whole)).size == Size(64, 64)
    with pytest.raises(InvalidImage):
        probe(io.BytesIO(whole[: len(whole) // 2]))


def tiff_of(*pages: tuple[Image.Image, dict[int, int]]) -> bytes:
    """Each with the tags that are given for it."""
    content = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(content) as tiff:
        for image, tags in pages:
            image.save(tiff, "TIFF", tiffinfo=tags)
            tiff.newFrame()
    return content.getvalue()


def test_each_page_of_a_tiff_has_its_own_size() -> None:
    content = tiff_of((Image.new("L", (40, 30)), {}), (Image.new("RGB", (80, 60)), {274: 6}))

    assert probe(io.BytesIO(content)) == ImageFacts(ImageFormat.TIFF, Size(40, 30), (Size(60, 80),))


@pytest.mark.parametrize("no_page", [1, 4])
def test_smaller_copies_and_masks_of_a_page_are_none(no_page: int) -> None:
    small = Image.new("L", (20, 15))
    content = tiff_of((Image.new("L", (40, 30)), {}), (small, {254: no_page}), (small, {254: 2}))

    assert probe(io.BytesIO(content)).further == (Size(20, 15),)


def test_of_very_many_pages_one_too_many_are_looked_at() -> None:
    content = tiff_of(*[(Image.new("L", (2, 2)), {})] * 60)

    assert len(probe(io.BytesIO(content)).further) == ImageFormat.TIFF.max_frames


def test_a_tiff_whose_second_page_is_cut_off_is_refused() -> None:
    content = bytearray(tiff_of((Image.new("L", (4, 3)), {}), (Image.new("L", (4, 3)), {})))
    counts = struct.pack("<HHI", 279, 4, 1) + struct.pack("<I", 12)
    at = content.rindex(counts) + 8
    content[at : at + 4] = struct.pack("<I", 1000)

    with pytest.raises(InvalidImage, match="cut off"):
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


LONG = {
    "fill bytes": _jpeg_with(b"\xff" * 9_000_000),
    "escaped bytes": _jpeg_with(b"\xff\x00" * 4_500_000),
    "empty segments": _jpeg_with(b"\xff\xe5\x00\x02" * 2_300_000),
    "comments": _jpeg_with(b"\xff\xfe\x00\x02" * 2_300_000),
    "segments of no length": _jpeg_with(b"\xff\xe5\x00\x00" * 2_300_000),
    "empty chunks": _png_with(chunk(b"xxXx", b"") * 800_000),
    "texts": _png_with(chunk(b"tEXt", b"k\0x") * 600_000),
    "empty pixels": _png_with(chunk(b"IDAT", b"") * 800_000),
    "GIF comments": _gif_with(b"\x21\xfe\x01x\x00" * 1_800_000),
    "one GIF comment": _gif_with(b"\x21\xfe" + b"\x01x" * 4_500_000 + b"\0"),
    "GIF extensions": _gif_with(b"\x21\x01\x01x\x00" * 1_800_000),
    "GIF padding": _gif_with(bytes(9_000_000)),
}


@pytest.mark.parametrize("kind", LONG)
def test_a_picture_of_endlessly_many_pieces_is_refused(gradient: MakeGradient, kind: str) -> None:
    """Pillow would read for seconds, and keep it all."""
    content = io.BytesIO(LONG[kind](gradient))
    began = time.perf_counter()

    with pytest.raises(InvalidImage):
        probe(content)

    assert time.perf_counter() - began < 1


def test_as_many_segments_as_a_colour_profile_needs_are_read(gradient: MakeGradient) -> None:
    content = gradient("JPEG", icc_profile=bytes(255 * 60_000))

    assert probe(io.BytesIO(content)).size == Size(8, 6)


def test_what_is_larger_than_any_cap_still_has_its_size(gradient: MakeGradient) -> None:
    """The caller knows the cap, and has a sentence for it."""
    png = gradient("PNG")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))

    assert probe(io.BytesIO(png[:8] + header + png[33:])).size == Size(2**31 - 1, 2**31 - 1)


@pytest.mark.parametrize("name", FORMATS)
def test_no_damage_does_more_than_be_refused(gradient: MakeGradient, name: str) -> None:
    """Seeded, so that a failure can be looked at again."""
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
