"""What an uploaded file is, without decoding it."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import ExifTags, Image

from domain.errors import PictureError
from domain.formats import PictureFormat
from domain.sizing import Size
from handlers.probe import probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.handlers.conftest import MakePicture

FORMATS = [picture_format.name for picture_format in PictureFormat]
WITH_EXIF = ["JPEG", "PNG", "WEBP", "TIFF"]


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 6), (300, 200), (1, 700)])
def test_format_and_size_are_found(picture: MakePicture, name: str, width: int, height: int) -> None:
    facts = probe(io.BytesIO(picture(name, width, height)))

    assert facts == (PictureFormat[name], Size(width, height))


@pytest.mark.parametrize("name", WITH_EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_picture_as_displayed(
    picture: MakePicture, name: str, orientation: int
) -> None:
    facts = probe(io.BytesIO(picture(name, 8, 6, exif=exif(orientation))))

    assert facts.size == (Size(6, 8) if orientation >= 5 else Size(8, 6))


def test_an_orientation_noted_behind_the_picture_counts(picture: MakePicture) -> None:
    """Where some programs write it, so as not to move the rest of the file."""
    png = picture("PNG", 8, 6)
    note = chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))

    assert probe(io.BytesIO(png[:-12] + note + png[-12:])).size == Size(6, 8)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("name", "options"), [("JPEG", {"xmp": XMP}), ("WEBP", {"xmp": XMP}), ("TIFF", {"tiffinfo": {700: XMP}})]
)
def test_an_orientation_noted_as_xmp_is_none(
    picture: MakePicture, name: str, options: dict[str, Any]
) -> None:
    """As for the engine, and for most programs that show pictures."""
    content = picture(name, 8, 6, **options)

    assert XMP in content
    assert probe(io.BytesIO(content)).size == Size(8, 6)


@pytest.mark.parametrize("at", [33, -12])
def test_an_orientation_noted_as_xmp_in_a_png_is_none(picture: MakePicture, at: int) -> None:
    png = picture("PNG", 8, 6)
    note = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)

    assert probe(io.BytesIO(png[:at] + note + png[at:])).size == Size(8, 6)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_of_no_sense_is_none(picture: MakePicture, orientation: int) -> None:
    assert probe(io.BytesIO(picture("JPEG", 8, 6, exif=exif(orientation)))).size == Size(8, 6)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "broken", [b"", b"Exif\0\0", b"nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + bytes(3)]
)
def test_broken_notes_are_no_reason_to_refuse(picture: MakePicture, name: str, broken: bytes) -> None:
    assert probe(io.BytesIO(picture(name, 8, 6, exif=broken))).size == Size(8, 6)


@pytest.mark.parametrize("name", FORMATS)
def test_the_stream_stands_at_its_start_before_and_after(picture: MakePicture, name: str) -> None:
    content = io.BytesIO(picture(name))
    content.seek(7)
    probe(content)
    assert content.tell() == 0

    broken = io.BytesIO(picture(name)[:-1])
    try:
        probe(broken)
    except PictureError:
        assert broken.tell() == 0
    assert not broken.closed


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.99])
def test_a_picture_that_was_cut_off_is_refused(picture: MakePicture, name: str, share: float) -> None:
    content = picture(name, 120, 90)

    with pytest.raises(PictureError):
        probe(io.BytesIO(content[: int(len(content) * share)]))


def test_an_animation_has_the_size_of_its_canvas() -> None:
    content = io.BytesIO()
    Image.new("P", (40, 30)).save(content, "GIF", save_all=True, append_images=[Image.new("P", (40, 30), 1)])

    assert probe(content).size == Size(40, 30)


@pytest.mark.parametrize("behind", [b"\0" * 9, b"x", b"made with care" * 9999])
def test_what_stands_behind_the_end_of_a_gif_is_ignored(picture: MakePicture, behind: bytes) -> None:
    assert probe(io.BytesIO(picture("GIF", 40, 30) + behind)).size == Size(40, 30)


def test_a_gif_that_only_seems_to_end_is_refused(picture: MakePicture) -> None:
    """Cut within a block, just behind the byte that would be its trailer."""
    comment = b"\x21\xfe\x02x;\0"

    with pytest.raises(PictureError):
        probe(io.BytesIO(picture("GIF")[:-1] + comment[:-1]))


def test_a_gif_of_many_frames_is_walked_to_its_end() -> None:
    frames = [Image.effect_noise((64, 64), 90).convert("P") for _ in range(50)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    whole = content.getvalue()

    assert probe(io.BytesIO(whole)).size == Size(64, 64)
    with pytest.raises(PictureError):
        probe(io.BytesIO(whole[: len(whole) // 2]))


def test_a_tiff_has_the_size_of_its_first_page() -> None:
    content = io.BytesIO()
    Image.new("L", (40, 30)).save(content, "TIFF", save_all=True, append_images=[Image.new("L", (80, 60))])

    assert probe(content).size == Size(40, 30)


def _jpeg_with(segments: bytes) -> Callable[[MakePicture], bytes]:
    return lambda picture: picture("JPEG")[:2] + segments + picture("JPEG")[2:]


def _png_with(chunks: bytes) -> Callable[[MakePicture], bytes]:
    return lambda picture: picture("PNG")[:33] + chunks + picture("PNG")[33:]


def _gif_with(blocks: bytes) -> Callable[[MakePicture], bytes]:
    def make(picture: MakePicture) -> bytes:
        gif = picture("GIF")
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
def test_a_picture_of_endlessly_many_pieces_is_refused(picture: MakePicture, kind: str) -> None:
    """Pillow would read for seconds, and keep it all."""
    content = io.BytesIO(LONG[kind](picture))
    began = time.perf_counter()

    with pytest.raises(PictureError):
        probe(content)

    assert time.perf_counter() - began < 1


def test_as_many_segments_as_a_colour_profile_needs_are_read(picture: MakePicture) -> None:
    content = picture("JPEG", icc_profile=bytes(255 * 60_000))

    assert probe(io.BytesIO(content)).size == Size(8, 6)


def test_what_is_larger_than_any_cap_still_has_its_size(picture: MakePicture) -> None:
    """The caller knows the cap, and has a sentence for it."""
    png = picture("PNG")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))

    assert probe(io.BytesIO(png[:8] + header + png[33:])).size == Size(2**31 - 1, 2**31 - 1)


@pytest.mark.parametrize("name", FORMATS)
def test_no_damage_does_more_than_be_refused(picture: MakePicture, name: str) -> None:
    """Seeded, so that a failure can be looked at again."""
    chance = random.Random(name)
    whole = picture(name, 24, 16, **({"exif": exif(6)} if name in WITH_EXIF else {}))
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(len(content))] = chance.choice(
                [0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)]
            )
        try:
            facts = probe(io.BytesIO(bytes(content)))
        except PictureError:
            continue
        assert facts.size.width > 0
        assert facts.size.height > 0
