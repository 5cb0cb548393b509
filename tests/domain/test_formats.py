from __future__ import annotations

import pytest

from domain.formats import PictureFormat, format_named


@pytest.mark.parametrize(
    ("picture_format", "extension", "media_type"),
    [
        (PictureFormat.JPEG, ".jpg", "image/jpeg"),
        (PictureFormat.PNG, ".png", "image/png"),
        (PictureFormat.WEBP, ".webp", "image/webp"),
        (PictureFormat.BMP, ".bmp", "image/bmp"),
        (PictureFormat.TIFF, ".tiff", "image/tiff"),
        (PictureFormat.GIF, ".gif", "image/gif"),
    ],
)
def test_each_format_of_the_contract_has_its_usual_extension_and_media_type(
    picture_format: PictureFormat, extension: str, media_type: str
) -> None:
    assert picture_format.extension == extension
    assert picture_format.extension in picture_format.extensions
    assert picture_format.media_type == media_type


def test_the_formats_are_the_six_of_the_contract() -> None:
    assert [picture_format.value for picture_format in PictureFormat] == [
        "jpeg", "png", "webp", "bmp", "tiff", "gif",
    ]  # fmt: skip


# Otherwise a right extension would be «put right» into another one.
def test_no_extension_belongs_to_two_formats() -> None:
    extensions = [extension for picture_format in PictureFormat for extension in picture_format.extensions]
    assert len(set(extensions)) == len(extensions)


@pytest.mark.parametrize(
    ("filename", "picture_format"),
    [
        ("photo.png", PictureFormat.PNG),
        ("PHOTO.JPEG", PictureFormat.JPEG),
        ("scan.v2.tif", PictureFormat.TIFF),
        ("archive.png.zip", None),
        ("png", None),
        (".png", None),
        ("", None),
    ],
)
def test_a_files_name_speaks_of_a_format_by_its_last_extension(
    filename: str, picture_format: PictureFormat | None
) -> None:
    assert format_named(filename) is picture_format
