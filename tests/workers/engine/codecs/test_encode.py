from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin

from domain.formats import ImageFormat
from workers.engine.codecs.decode import Encoding, decode
from workers.engine.codecs.encode import encode
from workers.engine.codecs.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


@pytest.fixture
def metadata() -> Metadata:
    exif = Image.Exif()
    exif[0x010E] = "a cup"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 28.0, 0.0)})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return Metadata(exif.tobytes(), XMP, profile, (300.0, 300.0))


@pytest.mark.parametrize("image_format", ImageFormat)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_encoded_image_decodes_to_the_same(
    image_format: ImageFormat, mode: str, crop: Image.Image, tmp_path: Path, psnr: Callable[..., float]
) -> None:
    image = crop.convert(mode)

    encode(image, Encoding(image_format), Metadata(), tmp_path / "result")

    back = decode(tmp_path / "result")
    assert back.encoding.image_format is image_format
    expected = np.asarray(image).reshape(40, 48, -1)
    assert psnr(back.pixels, np.broadcast_to(expected, back.pixels.shape)) > (
        30 if image_format is ImageFormat.GIF else 38
    )


@pytest.mark.parametrize(
    "image_format", [ImageFormat.PNG, ImageFormat.TIFF, ImageFormat.BMP, ImageFormat.WEBP]
)
def test_alpha_is_kept(image_format: ImageFormat, crop: Image.Image, tmp_path: Path) -> None:
    image = crop.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(crop.size))

    encode(image, Encoding(image_format, lossless=True), Metadata(), tmp_path / "result")

    np.testing.assert_array_equal(decode(tmp_path / "result").pixels[..., 3], np.asarray(image)[..., 3])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_gif_alpha_threshold_is_half(mode: str, crop: Image.Image, tmp_path: Path) -> None:
    image = crop.convert(mode)
    alpha = Image.linear_gradient("L").resize(crop.size)
    image.putalpha(alpha)

    encode(image, Encoding(ImageFormat.GIF), Metadata(), tmp_path / "result")

    np.testing.assert_array_equal(
        decode(tmp_path / "result").pixels[..., -1] == 255, np.asarray(alpha) >= 128
    )


@pytest.mark.parametrize(
    "image_format", [ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.TIFF]
)
def test_metadata_is_written(
    image_format: ImageFormat, metadata: Metadata, crop: Image.Image, tmp_path: Path
) -> None:
    encode(crop, Encoding(image_format), metadata, tmp_path / "result")

    back = decode(tmp_path / "result").metadata
    exif = Image.Exif()
    exif.load(back.exif)
    assert exif[0x010E] == "a cup"
    assert exif.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
    assert exif.get_ifd(0x8825)[2] == (51.0, 28.0, 0.0)
    assert back.xmp == XMP
    assert back.icc_profile == metadata.icc_profile
    if image_format is not ImageFormat.WEBP:  # WebP cannot store a resolution
        assert back.dpi == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("notes", [{0x0131: "a scanner"}, {0x0131: "a scanner", 700: XMP}])
def test_tiff_without_camera_notes_is_compressed(
    notes: dict[int, object], crop: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif.update(notes)
    crop.save(tmp_path / "scan", format="tiff", exif=exif)

    encode(crop, Encoding(ImageFormat.TIFF), decode(tmp_path / "scan").metadata, tmp_path / "result")

    with Image.open(tmp_path / "result") as image:
        assert image.info["compression"] == "tiff_adobe_deflate"
        assert {tag: image.tag_v2[tag] for tag in notes} == notes


def test_metadata_too_long_for_jpeg_is_omitted(metadata: Metadata, crop: Image.Image, tmp_path: Path) -> None:
    too_long = replace(metadata, exif=b"Exif\0\0" + bytes(70_000), xmp=bytes(70_000))

    encode(crop, Encoding(ImageFormat.JPEG), too_long, tmp_path / "result")

    assert decode(tmp_path / "result").metadata.icc_profile == metadata.icc_profile


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_keeps_subsampling(subsampling: int, crop: Image.Image, tmp_path: Path) -> None:
    encode(crop, Encoding(ImageFormat.JPEG, chroma_subsampling=subsampling), Metadata(), tmp_path / "result")

    with Image.open(tmp_path / "result") as image:
        assert JpegImagePlugin.get_sampling(image) == subsampling


def test_lossless_webp_stays_lossless(crop: Image.Image, tmp_path: Path) -> None:
    encode(crop, Encoding(ImageFormat.WEBP, lossless=True), Metadata(), tmp_path / "result")

    np.testing.assert_array_equal(decode(tmp_path / "result").pixels, np.asarray(crop))


def test_failed_write_leaves_the_old_file(
    crop: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "result"
    target.write_bytes(b"before")

    def full_disk(_image: Image.Image, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        encode(crop, Encoding(ImageFormat.PNG), Metadata(), target)

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("result", b"before")]
