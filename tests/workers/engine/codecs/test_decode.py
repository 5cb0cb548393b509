from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from domain.errors import InvalidImage
from domain.formats import ImageFormat
from domain.sizing import Caps
from workers.engine.codecs.decode import DecodedImage, decode

if TYPE_CHECKING:
    from collections.abc import Callable

    Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Return a function that saves an image with Pillow and returns the file."""

    def write(image: Image.Image, image_format: str, **options: Any) -> Path:
        path = tmp_path / "image"
        image.save(path, format=image_format, **options)
        return path

    return write


def decode_bytes(content: bytes, folder: Path, caps: Caps | None = None) -> DecodedImage:
    path = folder / "hostile"
    path.write_bytes(content)
    return decode(path, caps or Caps())


@pytest.mark.parametrize("image_format", ImageFormat)
def test_format_is_detected_from_content(
    image_format: ImageFormat, crop: Image.Image, written: Written
) -> None:
    decoded = decode(written(crop, image_format.value))

    assert decoded.encoding.image_format is image_format
    assert decoded.size == crop.size
    assert decoded.pixels.dtype == np.uint8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "tiff"])
def test_orientation_is_applied_and_removed_from_exif(
    orientation: int, image_format: str, crop: Image.Image, written: Written
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(crop, image_format, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    decoded = decode(path)

    np.testing.assert_array_equal(decoded.pixels, expected)
    assert decoded.metadata.exif is None


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "tiff"])
def test_xmp_orientation_is_ignored(image_format: str, crop: Image.Image, written: Written) -> None:
    xmp = b'<rdf:Description tiff:Orientation="6" dc:title="cup"/>'
    text, tags = PngImagePlugin.PngInfo(), Image.Exif()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    tags[700] = xmp
    options = {"png": {"pnginfo": text}, "tiff": {"exif": tags}}
    path = written(crop, image_format, **options.get(image_format, {"xmp": xmp}))
    with Image.open(path) as image:
        assert image.getexif()[0x0112] == 6

    decoded = decode(path)

    assert decoded.size == crop.size
    assert decoded.metadata.xmp == b'<rdf:Description dc:title="cup"/>'


def test_broken_exif_does_not_reject_the_image(crop: Image.Image, written: Written) -> None:
    decoded = decode(written(crop, "jpeg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"))

    assert decoded.size == crop.size


@pytest.mark.parametrize(
    ("mode", "image_format", "channels"),
    [
        ("1", "png", 1),
        ("1", "tiff", 1),
        ("L", "png", 1),
        ("L", "jpeg", 1),
        ("L", "bmp", 1),
        ("L", "gif", 1),
        ("LA", "png", 2),
        ("LA", "tiff", 2),
        ("P", "png", 3),
        ("P", "gif", 3),
        ("RGBA", "png", 4),
        ("RGBA", "tiff", 4),
        ("CMYK", "jpeg", 3),
        ("CMYK", "tiff", 3),
        ("YCbCr", "tiff", 3),
    ],
)
def test_every_pixel_mode_decodes_to_the_same_image(
    mode: str,
    image_format: str,
    channels: int,
    crop: Image.Image,
    written: Written,
    psnr: Callable[..., float],
) -> None:
    image = crop.convert(mode)

    decoded = decode(written(image, image_format))

    assert decoded.pixels.shape == (40, 48, channels)
    reference = image.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])
    assert psnr(decoded.pixels.reshape(40, 48, -1), np.asarray(reference).reshape(40, 48, -1)) > 30


def test_bilevel_image_decodes_to_0_and_255(crop: Image.Image, written: Written) -> None:
    assert set(np.unique(decode(written(crop.convert("1"), "png")).pixels)) == {0, 255}


def test_transparent_palette_entry_becomes_alpha(crop: Image.Image, written: Written) -> None:
    image = crop.quantize(16)

    decoded = decode(written(image, "png", transparency=3))

    assert decoded.pixels.shape[2] == 4
    np.testing.assert_array_equal(decoded.pixels[..., 3] == 0, np.asarray(image) == 3)


@pytest.mark.parametrize(
    ("space", "channels"), [(None, 1), (b"GRAY", 1), (b"RGB ", 3)], ids=["none", "gray", "colour"]
)
@pytest.mark.parametrize("transparent", [False, True])
def test_gray_palette_with_colour_profile_stays_rgb(
    space: bytes | None, channels: int, transparent: bool, crop: Image.Image, written: Written
) -> None:
    profile = None if space is None else bytes(16) + space + bytes(108)
    options = {"transparency": 3} if transparent else {}
    palette = crop.convert("L").quantize(16)

    decoded = decode(written(palette, "png", icc_profile=profile, **options))

    assert decoded.pixels.shape[2] == channels + transparent
    assert decoded.metadata.icc_profile == profile
    assert decoded.is_neutral


@pytest.mark.parametrize(("mode", "colour", "channels"), [("RGB", (1, 2, 3), 4), ("L", 7, 2)])
def test_transparent_colour_becomes_alpha(mode: str, colour: Any, channels: int, written: Written) -> None:
    image = Image.new(mode, (4, 4), colour)

    decoded = decode(written(image, "png", transparency=colour))

    assert decoded.pixels.shape[2] == channels
    assert (decoded.pixels[..., -1] == 0).all()


@pytest.mark.parametrize("image_format", ["png", "tiff"])
def test_16bit_gray_keeps_its_bits(image_format: str, written: Written) -> None:
    values = np.linspace(0, 65_535, 64 * 32).astype(np.uint16).reshape(32, 64)

    decoded = decode(written(Image.fromarray(values), image_format))

    np.testing.assert_array_equal(decoded.pixels[..., 0], values)


def test_big_endian_16bit_gray_is_decoded(tmp_path: Path) -> None:
    values = np.linspace(0, 65_535, 64).astype(">u2")
    tags = [(256, 64), (257, 1), (258, 16), (259, 1), (262, 1), (273, 200), (277, 1), (278, 1), (279, 128)]
    directory = struct.pack(">H", len(tags))
    for tag, value in tags:
        directory += struct.pack(">HHI", tag, 4, 1) + struct.pack(">I", value)
    content = (b"MM\0*" + struct.pack(">I", 8) + directory + bytes(4)).ljust(200, b"\0") + values.tobytes()

    np.testing.assert_array_equal(decode_bytes(content, tmp_path).pixels[0, :, 0], values)


def test_32bit_image_is_rejected(written: Written) -> None:
    with pytest.raises(InvalidImage, match="32 bits"):
        decode(written(Image.new("F", (4, 4)), "tiff"))


def test_cmyk_with_unusable_profile_becomes_rgb(crop: Image.Image, written: Written) -> None:
    decoded = decode(written(crop.convert("CMYK"), "jpeg", icc_profile=b"no profile", quality=95))

    assert decoded.metadata.icc_profile is None
    assert decoded.pixels.shape[2] == 3


def test_lab_becomes_srgb(crop: Image.Image, written: Written, psnr: Callable[..., float]) -> None:
    lab = ImageCms.profileToProfile(
        crop, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )

    assert psnr(decode(written(lab, "tiff")).pixels, np.asarray(crop)) > 35


def test_decode_returns_first_frame_of_animation(crop: Image.Image, written: Written) -> None:
    others = [Image.new("RGB", crop.size, "red")]

    decoded = decode(written(crop, "webp", save_all=True, append_images=others, lossless=True))

    np.testing.assert_array_equal(decoded.pixels, np.asarray(crop))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_subsampling_is_detected(subsampling: int, crop: Image.Image, written: Written) -> None:
    encoding = decode(written(crop, "jpeg", subsampling=subsampling, progressive=True)).encoding

    assert encoding.chroma_subsampling == subsampling
    assert encoding.progressive


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("animated", [True, False])
@pytest.mark.parametrize("profile", [None, b"p" * 131])
def test_lossless_webp_is_detected(
    lossless: bool, animated: bool, profile: bytes | None, crop: Image.Image, written: Written
) -> None:
    frames = {"save_all": True, "append_images": [Image.new("RGB", crop.size)]} if animated else {}

    assert (
        decode(written(crop, "webp", lossless=lossless, icc_profile=profile, **frames)).encoding.lossless
        is lossless
    )


def test_neutral_image_is_detected_in_every_mode(crop: Image.Image, written: Written) -> None:
    gray = crop.convert("L")

    for mode in ("L", "LA", "RGB", "RGBA"):
        assert decode(written(gray.convert(mode), "png")).is_neutral
    assert not decode(written(crop, "png")).is_neutral


@pytest.mark.parametrize("image_format", ImageFormat)
@pytest.mark.parametrize("kept_share", [0.6, 0.99])
def test_truncated_file_is_rejected(
    image_format: ImageFormat, kept_share: float, crop: Image.Image, written: Written, tmp_path: Path
) -> None:
    content = written(crop, image_format.value).read_bytes()

    with pytest.raises(InvalidImage):
        decode_bytes(content[: int(len(content) * kept_share)], tmp_path)


def test_wrong_checksum_is_rejected(crop: Image.Image, written: Written, tmp_path: Path) -> None:
    content = bytearray(written(crop, "png").read_bytes())
    content[content.index(b"IEND") - 5] ^= 1  # the checksum of the pixels

    with pytest.raises(InvalidImage, match="damaged"):
        decode_bytes(bytes(content), tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(12),
        b"<html><body>image</body></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(40),
        b"8BPS\0\x01" + bytes(40),
        b"\x0a\x05\x01\x08" + bytes(124),
        b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        b"GIF89a",
        b"BM" + bytes(60),
        b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff",
    ],
    ids=[
        "empty",
        "header",
        "html",
        "svg",
        "eps",
        "pdf",
        "zip",
        "psd",
        "pcx",
        "tiff-loop",
        "gif",
        "bmp",
        "webp",
    ],
)
def test_other_content_is_rejected(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidImage):
        decode_bytes(content, tmp_path)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    result = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        result += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return result


@pytest.mark.parametrize("size", [(0, 0), (50_000, 50_000), (2**31 - 1, 1)])
def test_impossible_size_is_rejected_before_decoding(size: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(InvalidImage):
        decode_bytes(png(*size, (b"IDAT", zlib.compress(bytes(100)))), tmp_path)


def test_size_above_pillow_limit_is_checked_by_caps(tmp_path: Path) -> None:
    content = png(100_000, 2000, (b"IDAT", zlib.compress(bytes(100))))

    with pytest.raises(InvalidImage, match="more than 199,999,999 pixels"):
        decode_bytes(content, tmp_path, Caps(max_pixels=199_999_999))
    with pytest.raises(InvalidImage, match="damaged"):
        decode_bytes(content, tmp_path, Caps(max_pixels=200_000_000))


def test_compressed_text_bomb_is_rejected(tmp_path: Path) -> None:
    bomb = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)

    with pytest.raises(InvalidImage):
        decode_bytes(png(1, 1, (b"zTXt", bomb), (b"IDAT", zlib.compress(bytes(2)))), tmp_path)


def test_data_after_jpeg_is_ignored(crop: Image.Image, written: Written, tmp_path: Path) -> None:
    assert (
        decode_bytes(written(crop, "jpeg").read_bytes() + b"PK\x03\x04<script>", tmp_path).size == crop.size
    )


def test_missing_file_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "nothing")


def test_error_messages_contain_no_path_or_library(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage) as caught:
        decode_bytes(b"GIF89a", tmp_path)

    assert str(tmp_path) not in str(caught.value)
    assert "PIL" not in str(caught.value)


def test_png_xmp_is_kept_without_orientation(crop: Image.Image, written: Written) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6" dc:title="cup"/>')

    assert decode(written(crop, "png", pnginfo=text)).metadata.xmp == b'<rdf:Description dc:title="cup"/>'
