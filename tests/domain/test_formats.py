from __future__ import annotations

import pytest

from domain.formats import ImageFormat, format_from_filename


@pytest.mark.parametrize(
    ("image_format", "extension", "media_type"),
    [
        (ImageFormat.JPEG, ".jpg", "image/jpeg"),
        (ImageFormat.PNG, ".png", "image/png"),
        (ImageFormat.WEBP, ".webp", "image/webp"),
        (ImageFormat.BMP, ".bmp", "image/bmp"),
        (ImageFormat.TIFF, ".tiff", "image/tiff"),
        (ImageFormat.GIF, ".gif", "image/gif"),
    ],
)
def test_format_has_its_extension_and_media_type(
    image_format: ImageFormat, extension: str, media_type: str
) -> None:
    assert image_format.extension == extension
    assert image_format.extension in image_format.extensions
    assert image_format.media_type == media_type


def test_formats_are_those_of_the_contract() -> None:
    assert [image_format.value for image_format in ImageFormat] == [
        "jpeg", "png", "webp", "bmp", "tiff", "gif",
    ]  # fmt: skip


# Otherwise a correct extension could be replaced by another one.
def test_no_extension_belongs_to_two_formats() -> None:
    extensions = [extension for image_format in ImageFormat for extension in image_format.extensions]
    assert len(set(extensions)) == len(extensions)


@pytest.mark.parametrize(
    ("filename", "image_format"),
    [
        ("photo.png", ImageFormat.PNG),
        ("PHOTO.JPEG", ImageFormat.JPEG),
        ("scan.v2.tif", ImageFormat.TIFF),
        ("archive.png.zip", None),
        ("png", None),
        (".png", None),
        ("", None),
    ],
)
def test_last_extension_determines_the_format(filename: str, image_format: ImageFormat | None) -> None:
    assert format_from_filename(filename) is image_format
