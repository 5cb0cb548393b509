"""Pixels and metadata of the results for many kinds of originals.

``build/contact-sheet.png`` shows the originals beside the results, as another program reads them.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageFont, ImageOps, PngImagePlugin

from domain.formats import ImageFormat
from domain.sizing import Caps, Sizing
from project_root import ROOT
from workers.engine.codecs.decode import Encoding, decode
from workers.engine.codecs.encode import encode
from workers.engine.codecs.metadata import Metadata
from workers.engine.upscale import upscale_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from workers.engine.inference.loaded_model import LoadedModel

    Upscaled = Callable[..., Path]
    Psnr = Callable[..., float]

SHEET = ROOT / "build" / "contact-sheet.png"

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description dc:title="cup"/></x:xmpmeta>'

# It is created once because it contains its creation time.
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

# A diagonal ramp of 16 × 16, made by libjpeg's ``cjpeg -arithmetic -quality 90``; Pillow can only read such
# files.
ARITHMETIC_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8X"
    "GBYUGBIUFRT/yQALCAAQABABAREA/8wABgAQEAX/2gAIAQEAAD8A/wDcG9hOhJZ2x8Ck/mizhUx5A+T1WbtymMD/2Q=="
)

# The colours of cyan, magenta, yellow and black ink in sRGB; without ink the paper is visible.
INKS = ((0, 174, 239), (236, 0, 140), (255, 242, 0), (35, 31, 32))
PAPER = (255, 255, 255)


@dataclass
class Row:
    label: str
    before: Image.Image
    after: Image.Image


def as_others_show_it(path: Path) -> Image.Image:
    """Return the image upright in RGBA, read without Uprez."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        return image.convert("RGBA")


@pytest.fixture(scope="module")
def rows(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    rows: list[Row] = []
    yield rows
    SHEET.parent.mkdir(exist_ok=True)
    contact_sheet(rows).save(SHEET)
    reporter, capture = map(pytestconfig.pluginmanager.get_plugin, ("terminalreporter", "capturemanager"))
    if reporter and capture:
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"\ninput beside output: {SHEET}")


def contact_sheet(rows: list[Row], columns: int = 3) -> Image.Image:
    width, height, line = 200, 160, 16
    cell = (2 * width + 12, height + line + 8)
    sheet = Image.new("RGB", (columns * cell[0], -(-len(rows) // columns) * cell[1]), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    board = ((np.indices((height, width)) // 8).sum(axis=0) % 2 * 60 + 160).astype(np.uint8)
    for index, row in enumerate(rows):
        left, top = index % columns * cell[0], index // columns * cell[1]
        draw.text((left + 4, top + 1), row.label, "black", font)
        for number, image in enumerate((row.before, row.after)):
            factor = min(width / image.width, height / image.height)
            size = (round(image.width * factor), round(image.height * factor))
            ground = Image.fromarray(board).convert("RGBA").crop((0, 0, *size))
            ground.alpha_composite(image.resize(size, Image.Resampling.NEAREST))
            sheet.paste(ground.convert("RGB"), (left + 4 + number * (width + 4), top + line))
    return sheet


@pytest.fixture
def upscaled(rows: list[Row], animevideo: LoadedModel, tmp_path: Path) -> Upscaled:
    """Return a function that upscales a file to 2× and adds both to the contact sheet."""

    def run(label: str, source: Path) -> Path:
        target = tmp_path / "result"
        upscale_file(
            source,
            target,
            Sizing(2),
            caps=Caps(),
            model=animevideo,
            tile_side=32,
            threads=2,
            on_progress=lambda *_: None,
            cancelled=lambda: False,
        )
        rows.append(Row(label, as_others_show_it(source), as_others_show_it(target)))
        return target

    return run


@pytest.fixture(scope="module")
def cup(coffee: Image.Image) -> Image.Image:
    """Return the whole photograph, small, in which the orientation is obvious."""
    return coffee.resize((60, 40), Image.Resampling.LANCZOS)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def save(image: Image.Image, image_format: str, name: str = "original", **options: Any) -> Path:
        image.save(tmp_path / name, format=image_format, **options)
        return tmp_path / name

    return save


@pytest.fixture
def shows(psnr: Psnr) -> Callable[[Path, Image.Image], bool]:
    """Return a function that compares a result, reduced to the original's size, with the original."""

    def compare(result: Path, original: Image.Image) -> bool:
        with Image.open(result) as image:
            assert image.size == (original.width * 2, original.height * 2)
        smaller = as_others_show_it(result).resize(original.size, Image.Resampling.BOX)
        return psnr(np.asarray(smaller.convert("RGB")), np.asarray(original.convert("RGB"))) > 24

    return compare


def camera_notes(**tags: Any) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 28.0, 0.0)})
    exif.update({int(tag[1:], 16): value for tag, value in tags.items()})
    return exif


def expect_camera_notes(exif: Image.Exif) -> None:
    assert exif[0x010F] == "a maker"
    assert exif.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
    assert exif.get_ifd(0x8825)[2] == (51.0, 28.0, 0.0)
    assert 0x0112 not in exif


def press_profile() -> bytes:
    """Return a press profile with these inks: for each of 16 overprints its colour in Lab (ICC.1:2001-04,
    lut8).
    """
    overprints = np.ones((2, 2, 2, 2, 3)) * np.divide(PAPER, 255)
    for ink, colour in enumerate(INKS):
        printed = [slice(None)] * 4
        printed[ink] = slice(1, 2)
        overprints[tuple(printed)] *= np.divide(colour, 255)
    colours = Image.fromarray(np.rint(overprints.reshape(1, 16, 3) * 255).astype(np.uint8))
    lab = ImageCms.profileToProfile(
        colours, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    as_it_is = bytes(range(256))
    # Pillow's a and b are signed; the profile's are offset by 128.
    table = (np.asarray(lab) ^ np.array([0, 0x80, 0x80], np.uint8)).tobytes()
    identity = struct.pack(">9i", *(np.eye(3, dtype=int) * 65_536).ravel())
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 6) + b"press\0" + bytes(78),
        b"cprt": b"text\0\0\0\0nobody's\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63_190, 65_536, 54_061),
        b"A2B0": b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + as_it_is * 4 + table + as_it_is * 3,
    }
    directory, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        directory += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    size = 128 + len(directory) + len(data)
    header = struct.pack(">I4sI4s4s4s12x4s", size, b"", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63_190, 65_536, 54_061)
    return header.ljust(128, b"\0") + directory + data


def to_16bit(image: Image.Image) -> NDArray[np.uint16]:
    """Return the image in 16 bits."""
    values = np.asarray(image).astype(np.uint16) * 257
    return values.reshape(image.height, image.width, -1)


def with_slope_of_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_becomes_upright_and_keeps_exif(
    orientation: int, cup: Image.Image, saved: Any, upscaled: Upscaled, shows: Any
) -> None:
    source = saved(cup, "jpeg", exif=camera_notes(x0112=orientation), quality=95)

    result = upscaled(f"orientation {orientation}", source)

    assert shows(result, as_others_show_it(source))
    with Image.open(result) as image:
        expect_camera_notes(image.getexif())


def test_cmyk_is_converted_through_its_profile(saved: Any, upscaled: Upscaled) -> None:
    bars = np.zeros((40, 60, 4), np.uint8)
    for ink in range(4):
        bars[:, ink * 12 : ink * 12 + 12, ink] = 255
    source = saved(Image.fromarray(bars, "CMYK"), "jpeg", icc_profile=press_profile(), quality=95)

    result = upscaled("CMYK with a profile (left: without it)", source)

    with Image.open(result) as image:
        assert (image.mode, image.info.get("icc_profile")) == ("RGB", None)
        for number, colour in enumerate((*INKS, PAPER)):
            assert np.abs(np.subtract(image.getpixel((number * 24 + 12, 40)), colour)).max() <= 16


@pytest.mark.parametrize("image_format", ["jpeg", "tiff"])
def test_cmyk_without_a_profile_becomes_srgb(
    image_format: str, cup: Image.Image, saved: Any, upscaled: Upscaled, shows: Any
) -> None:
    result = upscaled(f"CMYK {image_format}", saved(cup.convert("CMYK"), image_format))

    assert shows(result, cup)
    with Image.open(result) as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("image_format", "mode"),
    [
        ("png", "L"),
        ("png", "LA"),
        ("png", "RGB"),
        ("png", "RGBA"),
        ("tiff", "L"),
        ("tiff", "RGB"),
        ("tiff", "RGBA"),
    ],
)
def test_16bit_original_keeps_depth_and_metadata(
    image_format: str, mode: str, cup: Image.Image, tmp_path: Path, upscaled: Upscaled, shows: Any
) -> None:
    image = with_slope_of_alpha(cup).convert(mode) if mode.endswith("A") else cup.convert(mode)
    source, encoding = tmp_path / "deep", Encoding(ImageFormat(image_format))
    metadata = Metadata(camera_notes().tobytes(), XMP, SRGB, (300.0, 300.0))
    encode(to_16bit(image), encoding, metadata, source)

    result = upscaled(f"16 bits, {mode}, {image_format}", source)

    assert shows(result, image)
    back = decode(result)
    assert back.pixels.dtype == np.uint16
    assert back.pixels.shape == (80, 120, len(mode))
    assert (np.unique(back.pixels[..., 0]) % 257 != 0).sum() > 256
    notes = Image.Exif()
    notes.load(back.metadata.exif)
    expect_camera_notes(notes)
    assert (back.metadata.xmp, back.metadata.icc_profile) == (XMP, SRGB)
    assert back.metadata.dpi == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("image_format", ["png", "gif"])
def test_transparent_palette_colour_stays_transparent(
    image_format: str, cup: Image.Image, saved: Any, upscaled: Upscaled
) -> None:
    palette = cup.quantize(16)
    palette.paste(3, (0, 0, 16, 40))

    result = upscaled(
        f"palette with transparency, {image_format}", saved(palette, image_format, transparency=3)
    )

    alpha = np.asarray(as_others_show_it(result))[..., 3]
    assert (alpha[:, :28] == 0).all()
    opaque = np.asarray(palette)[:, 20:] != 3
    assert (alpha[:, 40:] / 255).mean() == pytest.approx(opaque.mean(), abs=0.05)


def test_palette_alpha_is_kept(cup: Image.Image, saved: Any, upscaled: Upscaled) -> None:
    palette = cup.quantize(16)
    palette.paste(3, (0, 0, 16, 40))
    palette.paste(5, (16, 0, 32, 40))
    opacity = bytes([255] * 3 + [0] + [255] + [128] + [255] * 10)

    result = upscaled("palette with degrees of transparency", saved(palette, "png", transparency=opacity))

    alpha = np.asarray(as_others_show_it(result))[..., 3]
    assert (alpha[:, :28] == 0).all()
    assert (alpha[:, 36:60] == 128).all()


@pytest.mark.parametrize("image_format", ["jpeg", "png", "tiff", "webp"])
def test_profile_exif_and_xmp_are_kept(
    image_format: str, cup: Image.Image, saved: Any, upscaled: Upscaled, shows: Any
) -> None:
    exif, text = camera_notes(), PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    options: dict[str, Any] = {"pnginfo": text} if image_format == "png" else {"xmp": XMP}
    if image_format == "tiff":
        exif[700] = XMP
    source = saved(cup, image_format, exif=exif.tobytes(), icc_profile=SRGB, dpi=(300, 300), **options)

    result = upscaled(f"profile, EXIF, XMP, {image_format}", source)

    assert shows(result, cup)
    with Image.open(result) as image:
        image.load()
        assert image.info["icc_profile"] == SRGB
        expect_camera_notes(image.getexif())
        assert (image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()) == XMP
        if image_format != "webp":  # WebP cannot store a resolution
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("image_format", ["png", "tiff"])
def test_gray_with_alpha_stays_gray_with_alpha(
    image_format: str, cup: Image.Image, saved: Any, upscaled: Upscaled, shows: Any
) -> None:
    image = with_slope_of_alpha(cup.convert("L"))

    result = upscaled(f"gray with alpha, {image_format}", saved(image, image_format))

    assert shows(result, image)
    with Image.open(result) as back:
        assert back.mode == "LA"
        alpha = np.asarray(back.getchannel("A").resize(cup.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(alpha - np.asarray(image.getchannel("A"))).max() < 12


def test_single_pixel_keeps_its_colour(saved: Any, upscaled: Upscaled) -> None:
    result = upscaled("1 by 1", saved(Image.new("RGB", (1, 1), (200, 100, 50)), "png"))

    pixels = np.asarray(as_others_show_it(result)).astype(int)
    assert pixels.shape == (2, 2, 4)
    assert np.abs(pixels[..., :3] - (200, 100, 50)).max() <= 32  # the network shifts flat colours


@pytest.mark.parametrize("image_format", ["png", "tiff"])
def test_bilevel_original_becomes_gray(
    image_format: str, cup: Image.Image, saved: Any, upscaled: Upscaled
) -> None:
    bilevel = cup.convert("1", dither=Image.Dither.NONE)

    result = upscaled(f"1 bit, {image_format}", saved(bilevel, image_format))

    with Image.open(result) as image:
        assert image.mode == "L"
        smaller = np.asarray(image.resize(bilevel.size, Image.Resampling.BOX)).astype(int)
    assert ((smaller > 127) == np.asarray(bilevel)).mean() > 0.97
    assert len(np.unique(smaller)) > 2


def test_progressive_jpeg_stays_progressive(
    cup: Image.Image, saved: Any, upscaled: Upscaled, shows: Any
) -> None:
    result = upscaled("progressive JPEG", saved(cup, "jpeg", progressive=True, quality=95))

    assert shows(result, cup)
    with Image.open(result) as image:
        assert image.info["progressive"]


def test_arithmetic_jpeg_is_decoded(tmp_path: Path, upscaled: Upscaled) -> None:
    (tmp_path / "arithmetic").write_bytes(ARITHMETIC_JPEG)

    result = upscaled("arithmetic JPEG", tmp_path / "arithmetic")

    rows, columns = np.mgrid[0:16, 0:16]
    with Image.open(result) as image:
        assert (image.format, image.mode) == ("JPEG", "L")
        smaller = np.asarray(image.resize((16, 16), Image.Resampling.BOX)).astype(int)
    assert np.abs(smaller - (rows + columns) * 8).max() <= 16


@pytest.mark.parametrize("tail", [b"PK\x03\x04 a ZIP", b"<script>alert(1)</script>"], ids=["zip", "script"])
def test_data_after_jpeg_is_removed(
    tail: bytes, cup: Image.Image, saved: Any, upscaled: Upscaled, shows: Any
) -> None:
    source = saved(cup, "jpeg", quality=95)
    source.write_bytes(source.read_bytes() + tail)

    result = upscaled(f"JPEG with a tail: {tail[:8]!r}", source)

    assert shows(result, cup)
    assert tail not in result.read_bytes()
    assert result.read_bytes().endswith(b"\xff\xd9")


def test_bmp_with_png_extension_stays_bmp(
    cup: Image.Image, saved: Any, upscaled: Upscaled, shows: Any
) -> None:
    result = upscaled("BMP by the name of .png", saved(cup, "bmp", "original.png"))

    assert shows(result, cup)
    assert result.read_bytes().startswith(b"BM")
