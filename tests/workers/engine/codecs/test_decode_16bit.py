from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from domain.errors import InvalidImage
from domain.sizing import Caps
from workers.engine.codecs.decode import DecodedImage, decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

# The transformation for each value of EXIF's orientation.
UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
    7: lambda pixels: pixels.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}

# The passes of an interlaced PNG: first column and row, steps (PNG, 8.2).
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def values(channels: int, seed: int = 0) -> NDArray[np.uint16]:
    """Return noise, in which no two bytes are equal by accident."""
    return np.random.default_rng(seed).integers(0, 65_536, (23, 37, channels), dtype=np.uint16)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def scanlines(pixels: NDArray[np.uint16]) -> bytes:
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)


def passes(pixels: NDArray[np.uint16]) -> Iterator[bytes]:
    for left, top, across, down in ADAM7:
        part = pixels[top::down, left::across]
        if part.size:
            yield scanlines(part)


def png(pixels: NDArray[np.uint16], *chunks: bytes, interlaced: bool = False) -> bytes:
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    data = b"".join(passes(pixels)) if interlaced else scanlines(pixels)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, interlaced)),
            *chunks,
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        )
    )


def tiff(pixels: NDArray[np.uint16], *, planes: bool = False, **options: Any) -> bytes:
    file = io.BytesIO()
    if planes:
        pixels, options = np.moveaxis(pixels, 2, 0), options | {"planarconfig": "separate"}
    if pixels.shape[0 if planes else 2] == 4:
        options = {"extrasamples": ["unassalpha"]} | options
    pixels = np.ascontiguousarray(pixels)
    tifffile.imwrite(file, pixels, photometric="rgb", metadata=None, software=False, **options)
    return file.getvalue()


def tiff_of_gray(bits: int, data: bytes, width: int, *, white_is_zero: bool = False) -> bytes:
    """Return a TIFF of one row, in a variant that no library writes."""
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, 1 - white_is_zero), (273, 200), (277, 1)]
    tags += [(278, 1), (279, len(data))]
    directory = struct.pack("<H", len(tags))
    for tag, value in tags:
        directory += struct.pack("<HHII", tag, 4, 1, value)
    return (b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)).ljust(200, b"\0") + data


def decode_bytes(content: bytes, folder: Path, caps: Caps | None = None) -> DecodedImage:
    path = folder / "image"
    path.write_bytes(content)
    return decode(path, caps or Caps())


def test_16bit_colour_animation_decodes_to_8_bits(tmp_path: Path) -> None:
    first, second = (struct.pack(">IIIIIHHBB", number, 37, 23, 0, 0, 1, 10, 0, 0) for number in (0, 1))
    still = png(values(3), chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", first))
    data = struct.pack(">I", 2) + zlib.compress(scanlines(values(3, seed=1)))
    animation = still[:-12] + chunk(b"fcTL", second) + chunk(b"fdAT", data) + still[-12:]

    decoded = decode_bytes(animation, tmp_path)

    np.testing.assert_array_equal(decoded.pixels, values(3) >> 8)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16bit_png_keeps_all_bits(channels: int, interlaced: bool, tmp_path: Path) -> None:
    decoded = decode_bytes(png(values(channels), interlaced=interlaced), tmp_path)

    assert decoded.pixels.dtype == np.uint16
    np.testing.assert_array_equal(decoded.pixels, values(channels))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": "<"},
        {"byteorder": ">"},
        {"byteorder": "<", "compression": "zlib"},
        {"byteorder": ">", "compression": "zlib"},
        {"byteorder": "<", "compression": "zlib", "predictor": True},
        {"byteorder": ">", "tile": (16, 16)},
        {"byteorder": "<", "tile": (16, 16), "compression": "zlib"},
        {"byteorder": "<", "rowsperstrip": 5},
        {"byteorder": "<", "planes": True},
        {"byteorder": ">", "planes": True, "rowsperstrip": 5},
        {"byteorder": "<", "planes": True, "compression": "zlib"},
        {"byteorder": ">", "planes": True, "compression": "zlib", "predictor": True, "rowsperstrip": 5},
        {"byteorder": "<", "planes": True, "compression": "zlib", "tile": (16, 16), "bigtiff": True},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_16bit_tiff_keeps_all_bits(channels: int, options: dict[str, Any], tmp_path: Path) -> None:
    decoded = decode_bytes(tiff(values(channels), **options), tmp_path)

    assert decoded.pixels.dtype == np.uint16
    np.testing.assert_array_equal(decoded.pixels, values(channels))


@pytest.mark.parametrize("planes", [False, True])
def test_unspecified_fourth_channel_is_removed(planes: bool, tmp_path: Path) -> None:
    decoded = decode_bytes(tiff(values(4), extrasamples=["unspecified"], planes=planes), tmp_path)

    np.testing.assert_array_equal(decoded.pixels, values(4)[..., :3])


@pytest.mark.parametrize("planes", [False, True])
def test_premultiplied_alpha_is_divided_out(planes: bool, tmp_path: Path) -> None:
    straight = values(4)
    straight[..., 3] |= 0x8000
    multiplied = straight.astype(np.float64)
    multiplied[..., :3] *= multiplied[..., 3:] / 65_535
    content = tiff(np.rint(multiplied).astype(np.uint16), extrasamples=["assocalpha"], planes=planes)

    pixels = decode_bytes(content, tmp_path).pixels.astype(int)

    assert np.abs(pixels - straight).max() <= 1


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16bit_png_is_turned_upright(orientation: int, channels: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    decoded = decode_bytes(png(values(channels), chunk(b"eXIf", exif.tobytes()[6:])), tmp_path)

    np.testing.assert_array_equal(decoded.pixels, UPRIGHT[orientation](values(channels)))
    assert decoded.metadata.exif is None


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planes", [False, True])
def test_16bit_tiff_is_turned_upright(
    orientation: int, planes: bool, compression: str | None, tmp_path: Path
) -> None:
    tags = [(274, 3, 1, orientation, True)]
    content = tiff(values(3), planes=planes, compression=compression, extratags=tags)

    decoded = decode_bytes(content, tmp_path)

    np.testing.assert_array_equal(decoded.pixels, UPRIGHT[orientation](values(3)))
    assert decoded.metadata.exif is None


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_colour_becomes_alpha(channels: int, tmp_path: Path) -> None:
    pixels = values(channels)
    pixels[3, 4] = pixels[5, 6]
    pixels[7, 8] = pixels[5, 6] ^ 1  # the same in its upper eight bits

    decoded = decode_bytes(png(pixels, chunk(b"tRNS", pixels[5, 6].astype(">u2").tobytes())), tmp_path)

    np.testing.assert_array_equal(decoded.pixels[..., :-1], pixels)
    transparent = {(int(row), int(column)) for row, column in np.argwhere(decoded.pixels[..., -1] == 0)}
    assert transparent == {(3, 4), (5, 6)}
    assert decoded.pixels[..., -1].max() == 65_535


def test_white_is_zero_gray_is_inverted(tmp_path: Path) -> None:
    data = np.array([0, 1000, 65_535], "<u2").tobytes()

    decoded = decode_bytes(tiff_of_gray(16, data, 3, white_is_zero=True), tmp_path)

    assert decoded.pixels.ravel().tolist() == [65_535, 64_535, 0]


def test_12bit_values_are_scaled_to_16_bits(tmp_path: Path) -> None:
    decoded = decode_bytes(tiff_of_gray(12, bytes((0x00, 0x0F, 0xFF, 0x80, 0x00, 0x01)), 4), tmp_path)

    assert decoded.pixels.ravel().tolist() == [0, 65_535, 0x8008, 16]


@pytest.mark.parametrize("kept_share", [0.6, 0.99])
@pytest.mark.parametrize(
    "content",
    [png(values(2)), png(values(3)), png(values(4)), tiff(values(3)), tiff(values(3), compression="zlib")],
    ids=["png-2", "png-3", "png-4", "tiff", "tiff-zlib"],
)
def test_truncated_file_is_rejected(content: bytes, kept_share: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidImage):
        decode_bytes(content[: int(len(content) * kept_share)], tmp_path)


def test_wrong_checksum_is_rejected(tmp_path: Path) -> None:
    content = bytearray(png(values(3)))
    content[content.index(b"IEND") - 5] ^= 1

    with pytest.raises(InvalidImage, match="damaged"):
        decode_bytes(bytes(content), tmp_path)


def test_random_damage_is_decoded_or_rejected(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for original in (tiff(values(3)), tiff(values(4), compression="zlib"), tiff(values(3), planes=True)):
        for _ in range(100):
            content = bytearray(original)
            for position in random.integers(4, 400, 2):
                content[position] = random.integers(256)
            try:
                decoded = decode_bytes(bytes(content), tmp_path, Caps(max_pixels=10_000))
            except InvalidImage:
                continue
            assert decoded.size.pixels <= 10_000


def test_caps_are_checked_before_decoding(tmp_path: Path) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 16, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")

    with pytest.raises(InvalidImage, match="more than"):
        decode_bytes(content, tmp_path)
