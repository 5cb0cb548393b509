"""Validation of uploaded files by their content, not by name or media type."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradients import MakeGradient
    from tests.handlers.conftest import Client, Response, Server, User

UNSUPPORTED = {"image": ["The image must be a file of type: jpeg, png, webp, bmp, tiff, gif."]}
MAX_BYTES = 10 * 1024 * 1024
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]
BOMB_CPU_SECONDS = 0.7  # decoding the bomb takes several times longer


def upload_without_decoding(
    client: Client, server: Server, user: User, content: bytes, *arguments: Any, **options: Any
) -> Response:
    """Upload the content and return the response; fail if the server spends as much CPU time as on decoding a bomb."""
    client.upload(user.token, b"x")  # loads what the first upload needs
    before = sum(server.worker_process.cpu_times())
    response = client.upload(user.token, content, *arguments, **options)
    assert sum(server.worker_process.cpu_times()) - before < BOMB_CPU_SECONDS
    return response


def noise(image_format: str, width: int = 96, height: int = 64, **options: object) -> bytes:
    """Return an image with so many bytes that truncation damages it."""
    content = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(content, image_format, **options)  # type: ignore[arg-type]
    return content.getvalue()


def chunk(kind: bytes, data: bytes, *, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


def png_of(
    width: int, height: int, *extra: bytes, data: bytes | None = None, depth: int = 8, colour: int = 0
) -> bytes:
    pixels = zlib.compress(b"\0" * 100) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def zip_file() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("photo.png", noise("PNG"))
    return content.getvalue()


def looping_tiff() -> bytes:
    """Return a TIFF with one directory without image, which links to itself."""
    entry = struct.pack("<HHII", 256, 4, 1, 10)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 8)


def with_text_bomb(kind: bytes) -> bytes:
    packed = zlib.compress(b"\0" * 100_000_000, 9)
    head = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0", b"iCCP": b"profile\0\0"}[kind]
    return png_of(8, 6, chunk(kind, head + packed), data=zlib.compress(b"\0" * 54))


def gif_of(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def bmp_of(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 70, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 16, 0, 0, 0, 0)
        + bytes(16)
    )


def bad_crc() -> bytes:
    content = bytearray(noise("PNG"))
    at = content.index(b"IDAT")
    content[at + 4 + 40] ^= 1
    return bytes(content)


INVALID: dict[str, Callable[[], bytes]] = {
    "one byte": lambda: b"\0",
    "20 bytes of a PNG": lambda: noise("PNG")[:20],
    "20 bytes of a JPEG": lambda: noise("JPEG")[:20],
    "a signature alone": lambda: b"\x89PNG\r\n\x1a\n",
    "a JPEG's first marker": lambda: b"\xff\xd8\xff",
    "RIFF alone": lambda: b"RIFF\x04\0\0\0WEBP",
    "bad CRC": bad_crc,
    "0x0 PNG": lambda: png_of(0, 0),
    "0x1 PNG": lambda: png_of(0, 1),
    "0x0 GIF": lambda: gif_of(0, 0),
    "0x0 BMP": lambda: bmp_of(0, 0),
    "negative BMP": lambda: bmp_of(-5, 5),
    "huge BMP": lambda: bmp_of(2**31 - 1, 2**31 - 1),
    "zTXt bomb": lambda: with_text_bomb(b"zTXt"),
    "iTXt bomb": lambda: with_text_bomb(b"iTXt"),
    "iCCP bomb": lambda: with_text_bomb(b"iCCP"),
    "text": lambda: b"Dear server, this is an image.",
    "HTML": lambda: b"<!doctype html><script>alert(1)</script>",
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
    "EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "PDF": lambda: b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\n%%EOF",
    "PSD": lambda: b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 8, 8, 8, 3) + bytes(100),
    "PCX": lambda: b"\x0a\x05\x01\x08" + struct.pack("<HHHH", 0, 0, 7, 7) + bytes(200),
    "ICO": lambda: _saved("ICO"),
    "PPM": lambda: _saved("PPM"),
    "TGA": lambda: _saved("TGA"),
    "JPEG 2000": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "AVIF": lambda: b"\0\0\0\x1cftypavif" + bytes(100),
    "ZIP": zip_file,
    "gzip": lambda: zlib.compress(b"x" * 1000, wbits=31),
    "ELF": lambda: b"\x7fELF" + bytes(100),
    "looping TIFF": looping_tiff,
    "TIFF beyond its end": lambda: b"II*\0" + struct.pack("<I", 2**31),
    "TIFF of many entries": lambda: b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(100),
    "zeros": lambda: bytes(100_000),
    "a ZIP before an image": lambda: zip_file() + noise("PNG"),
}


def _saved(image_format: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (16, 16)).save(content, image_format)
    return content.getvalue()


@pytest.mark.parametrize("kind", INVALID)
def test_unsupported_or_broken_file_returns_422(
    client: Client, server: Server, jane: User, kind: str
) -> None:
    """It is rejected, under the name and type of an image, and uses no quota."""
    response = upload_without_decoding(
        client, server, jane, INVALID[kind](), "photo.png", media_type="image/png"
    )

    assert response.errors == UNSUPPORTED
    assert response.headers["X-RateLimit-Remaining"] == "1000"


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("percent", [2, 60, 90, 99])
def test_truncated_file_returns_422(client: Client, jane: User, image_format: str, percent: int) -> None:
    content = noise(image_format)

    assert client.upload(jane.token, content[: len(content) * percent // 100]).errors == UNSUPPORTED


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_file_without_its_last_byte_returns_422(client: Client, jane: User, image_format: str) -> None:
    assert client.upload(jane.token, noise(image_format)[:-1]).errors == UNSUPPORTED


def test_truncated_progressive_jpeg_returns_422(client: Client, jane: User) -> None:
    """Its first scan alone decodes to a complete, coarse image."""
    content = noise("JPEG", 200, 200, progressive=True)
    for percent in (30, 60, 99):
        assert client.upload(jane.token, content[: len(content) * percent // 100]).errors == UNSUPPORTED


def test_jpeg_with_end_marker_only_in_thumbnail_returns_422(client: Client, jane: User) -> None:
    thumbnail = noise("JPEG", 32, 32)
    whole = noise("JPEG")
    segment = b"\xff\xe5" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    content = whole[:2] + segment + whole[2:]

    assert client.upload(jane.token, content).status == 202
    assert client.upload(jane.token, content[: len(content) * 60 // 100]).errors == UNSUPPORTED


# --- too large


def padded_to(image_format: str, gradient: MakeGradient, size: int) -> bytes:
    """Return a small image with padding after its end, which decoders ignore."""
    content = gradient(image_format)
    return content + bytes(size - len(content))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_files_up_to_ten_mebibytes_are_accepted(
    client: Client, jane: User, gradient: MakeGradient, image_format: str
) -> None:
    accepted = client.upload(jane.token, padded_to(image_format, gradient, MAX_BYTES))
    rejected = client.upload(jane.token, padded_to(image_format, gradient, MAX_BYTES + 1))

    assert accepted.status == 202
    assert accepted.data["original_size"] == MAX_BYTES
    assert accepted.data["original_size_human"] == "10 MB"
    assert rejected.errors == {"image": ["The image must not be greater than 10240 kilobytes."]}


def test_large_file_and_invalid_field_are_returned_together(
    client: Client, jane: User, gradient: MakeGradient
) -> None:
    response = client.upload(
        jane.token, padded_to("JPEG", gradient, MAX_BYTES + 1), fields={"scale_factor": "9"}
    )

    assert sorted(response.errors) == ["image", "scale_factor"]


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (50_000, 50_000),
        (12_000, 12_000),
        (40_000_001, 1),
        (6325, 6325),
        (2**31 - 1, 1),
        (2**32 - 1, 2**32 - 1),
    ],
)
def test_too_many_pixels_are_rejected_from_the_header(
    client: Client, server: Server, jane: User, width: int, height: int
) -> None:
    response = upload_without_decoding(client, server, jane, png_of(width, height))

    assert response.errors == {"image": ["The image must not have more than 40000000 pixels."]}


def test_decompression_bomb_is_rejected_undecoded(client: Client, server: Server, jane: User) -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(6250)) for _ in range(50_000)) + packer.flush()
    response = upload_without_decoding(client, server, jane, png_of(50_000, 50_000, data=packed, depth=1))

    assert response.errors == {"image": ["The image must not have more than 40000000 pixels."]}


def animated_gif(frames: int, width: int = 1, height: int = 1) -> bytes:
    """Return a GIF whose frames draw one pixel of the canvas."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0"
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return head + frame * frames + b";"


def tiff_of_pages(pages: int) -> bytes:
    content = io.BytesIO()
    page = Image.new("L", (4, 3))
    page.save(content, "TIFF", save_all=True, append_images=[page] * (pages - 1))
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (animated_gif(10_000), "The image must not have more than 200 frames."),
        (animated_gif(201), "The image must not have more than 200 frames."),
        (tiff_of_pages(51), "The image must not have more than 50 pages."),
        (animated_gif(160, 500, 501), "The image must not have more than 40000000 pixels."),
    ],
    ids=["ten thousand frames", "a frame too many", "a page too many", "pixels of all frames"],
)
def test_animation_over_the_limits_is_rejected_undecoded(
    client: Client, server: Server, jane: User, content: bytes, message: str
) -> None:
    response = upload_without_decoding(client, server, jane, content)

    assert response.status == 422
    assert response.errors == {"image": [message]}
    assert response.headers["X-RateLimit-Remaining"] == "1000"


@pytest.mark.parametrize(
    "content", [animated_gif(200), tiff_of_pages(50), animated_gif(160, 500, 500)], ids=len
)
def test_animation_at_the_limits_is_accepted(client: Client, jane: User, content: bytes) -> None:
    assert client.upload(jane.token, content).status == 202


@pytest.mark.parametrize("make", [bmp_of, gif_of])
def test_bmp_and_gif_have_the_same_pixel_limit(
    client: Client, jane: User, make: Callable[[int, int], bytes]
) -> None:
    assert client.upload(jane.token, make(30_000, 30_000)).status == 422


def test_image_with_most_pixels_is_accepted(client: Client, jane: User) -> None:
    assert client.upload(jane.token, png_of(8000, 5000)).status == 202


# --- what is accepted


def animated(image_format: str) -> bytes:
    frames = [Image.new("RGB", (8, 6), (shade, 0, 0)) for shade in (0, 90, 180)]
    content = io.BytesIO()
    frames[0].save(content, image_format, save_all=True, append_images=frames[1:], duration=50)
    return content.getvalue()


def image_of_mode(mode: str, image_format: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (8, 6)).save(content, image_format, **options)  # type: ignore[arg-type]
    return content.getvalue()


def mpo_file() -> bytes:
    """Return a JPEG followed by another, as phones write it."""
    content = io.BytesIO()
    first = Image.effect_noise((32, 24), 50).convert("RGB")
    first.save(content, "MPO", save_all=True, append_images=[first.resize((16, 12))])
    return content.getvalue()


def padded_markers() -> bytes:
    """Return a JPEG with fill bytes before a marker, which the standard allows (B.1.1.2)."""
    whole = noise("JPEG")
    return whole[:2] + b"\xff\xff\xff" + whole[2:]


def old_bmp() -> bytes:
    """Return a BMP with the OS/2 header, which has another layout."""
    rows = bytes(24 * 6)
    return (
        b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + struct.pack("<IHHHH", 12, 8, 6, 1, 24) + rows
    )


VALID: dict[str, Callable[[], bytes]] = {
    **{image_format: lambda image_format=image_format: noise(image_format) for image_format in FORMATS},  # type: ignore[misc]
    "1x1": lambda: noise("PNG", 1, 1),
    "1x1 GIF": lambda: noise("GIF", 1, 1),
    "progressive JPEG": lambda: noise("JPEG", progressive=True),
    "JPEG with restarts": lambda: noise("JPEG", restart_marker_rows=1),
    "CMYK JPEG": lambda: image_of_mode("CMYK", "JPEG"),
    "gray JPEG": lambda: image_of_mode("L", "JPEG"),
    "JPEG of several images": mpo_file,
    "JPEG with fill bytes": padded_markers,
    "JPEG with a ZIP behind it": lambda: noise("JPEG") + zip_file(),
    "JPEG with a script behind it": lambda: noise("JPEG") + b"<script>alert(1)</script>",
    "1-bit PNG": lambda: image_of_mode("1", "PNG"),
    "16-bit PNG": lambda: image_of_mode("I;16", "PNG"),
    "LA PNG": lambda: image_of_mode("LA", "PNG"),
    "palette PNG": lambda: image_of_mode("P", "PNG", transparency=0),
    "animated PNG": lambda: animated("PNG"),
    "animated GIF": lambda: animated("GIF"),
    "animated WebP": lambda: animated("WEBP"),
    "lossless WebP": lambda: noise("WEBP", lossless=True),
    "WebP with alpha": lambda: image_of_mode("RGBA", "WEBP"),
    "16-bit TIFF": lambda: image_of_mode("I;16", "TIFF"),
    "compressed TIFF": lambda: noise("TIFF", compression="tiff_lzw"),
    "TIFF of pages": lambda: animated("TIFF"),
    "big-endian TIFF": lambda: noise("TIFF", big_tiff=True),
    "palette BMP": lambda: image_of_mode("P", "BMP"),
    "1-bit BMP": lambda: image_of_mode("1", "BMP"),
    "BMP of OS/2": old_bmp,
    "ICC": lambda: noise("PNG", icc_profile=b"x" * 3000),
}


@pytest.mark.parametrize("kind", VALID)
def test_valid_image_is_accepted_under_any_name_and_type(client: Client, jane: User, kind: str) -> None:
    response = client.upload(jane.token, VALID[kind](), "notes.txt", media_type="text/html")

    assert response.status == 202, response.body


# --- damaged files


@pytest.mark.parametrize("image_format", FORMATS)
def test_damaged_image_never_crashes_the_server(
    client: Client, server: Server, jane: User, gradient: MakeGradient, image_format: str
) -> None:
    """Set bytes of the header, one at a time, to 0x00 and 0xFF."""
    whole = gradient(image_format)
    for at in range(0, min(len(whole), 120), 5):
        for value in (0x00, 0xFF):
            content = bytearray(whole)
            content[at] = value
            response = upload_without_decoding(client, server, jane, bytes(content))
            assert response.status in {202, 422}, (at, value, response.status)
