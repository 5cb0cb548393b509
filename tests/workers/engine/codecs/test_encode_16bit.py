from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, TiffImagePlugin

from domain.formats import ImageFormat
from workers.engine.codecs.decode import Encoding, decode
from workers.engine.codecs.encode import encode
from workers.engine.codecs.encode_16bit import write_tiff
from workers.engine.codecs.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
KINDS = [
    (ImageFormat.PNG, 1),
    (ImageFormat.PNG, 2),
    (ImageFormat.PNG, 3),
    (ImageFormat.PNG, 4),
    (ImageFormat.TIFF, 1),
    (ImageFormat.TIFF, 3),
    (ImageFormat.TIFF, 4),
]


def noise(*shape: int) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, 65_536, shape, dtype=np.uint16)


@pytest.mark.parametrize(("image_format", "channels"), KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 997), (37, 41), (300, 500), (3, 70_000)])
def test_16bit_roundtrip_is_exact(
    image_format: ImageFormat, channels: int, size: tuple[int, int], tmp_path: Path
) -> None:
    pixels = noise(*size, channels)

    encode(pixels, Encoding(image_format), Metadata(), tmp_path / "result")

    np.testing.assert_array_equal(decode(tmp_path / "result").pixels, pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16bit_tiff_is_readable_by_tifffile(channels: int, tmp_path: Path) -> None:
    pixels = noise(300, 500, channels)

    encode(pixels, Encoding(ImageFormat.TIFF), Metadata(), tmp_path / "result")

    with tifffile.TiffFile(tmp_path / "result") as file:
        np.testing.assert_array_equal(file.asarray().reshape(pixels.shape), pixels)
        assert len(file.pages[0].dataoffsets) > 1


@pytest.mark.parametrize(("image_format", "channels"), KINDS)
def test_16bit_gradient_is_compressed(image_format: ImageFormat, channels: int, tmp_path: Path) -> None:
    slope = np.arange(200 * 300, dtype=np.uint16).reshape(200, 300, 1).repeat(channels, axis=2)

    encode(slope, Encoding(image_format), Metadata(), tmp_path / "result")

    assert (tmp_path / "result").stat().st_size < slope.nbytes / 20


@pytest.mark.parametrize(("image_format", "channels"), KINDS)
def test_metadata_is_written(image_format: ImageFormat, channels: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a cup"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 28.0, 0.0)})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    metadata = Metadata(exif.tobytes(), XMP, profile, (300.0, 300.0))
    encode(noise(40, 30, channels), Encoding(image_format), metadata, tmp_path / "result")

    back = decode(tmp_path / "result").metadata
    notes = Image.Exif()
    notes.load(back.exif)
    assert notes[0x010E] == "a cup"
    assert notes.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
    assert notes.get_ifd(0x8825)[2] == (51.0, 28.0, 0.0)
    assert (back.xmp, back.icc_profile) == (XMP, profile)
    assert back.dpi == pytest.approx((300, 300), abs=0.1)
    with Image.open(tmp_path / "result") as image:  # as other programs read it
        image.load()
        assert image.info["icc_profile"] == profile


def test_16bit_pages_can_be_appended(tmp_path: Path) -> None:
    pages = [noise(30, 40, 3), noise(200, 300, 4), noise(5, 7, 1)]

    with TiffImagePlugin.AppendingTiffWriter(tmp_path / "result") as file:
        for page in pages:
            write_tiff(file, page, {"exif": Image.Exif(), "dpi": (300, 300), "icc_profile": bytes(200)})
            file.newFrame()

    for number, page in enumerate(pages):
        read = tifffile.imread(tmp_path / "result", key=number)
        np.testing.assert_array_equal(read.reshape(page.shape), page)
