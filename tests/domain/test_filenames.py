from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.filenames import clean_filename, download_filename
from domain.formats import ImageFormat


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("photo.png", "photo.png"),
        ("Ferien am See (1).JPG", "Ferien am See (1).JPG"),
        ("日本語.png", "日本語.png"),
        ("party 🎉.png", "party 🎉.png"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\windows\\win.ini", "win.ini"),
        ("C:\\Users\\jane\\photo.png", "photo.png"),
        ("a/b\\c/photo.png", "photo.png"),
        ("photo.png\0.exe", "photo.png.exe"),
        ("photo.png\r\nSet-Cookie: a=b", "photo.pngSet-Cookie: a=b"),
        ("pho\tto\x7f\x1b[31m.png", "photo[31m.png"),
        ("photo\u2028and\u2029more.png", "photoandmore.png"),
        ("photo\u202egnp.exe", "photognp.exe"),  # with right-to-left text it is displayed as photoexe.png
        ("\ufeffphoto\u200b.png", "photo.png"),
        ("\ud800photo\udfff.png", "photo.png"),  # invalid UTF-8, decoded as surrogates
        ("photo\ufffd.png", "photo\ufffd.png"),
        ('"quoted"; filename=evil.png', '"quoted"; filename=evil.png'),
        ("CON", "CON"),
        ("", "image"),
        (".", "image"),
        ("..", "image"),
        ("/", "image"),
        ("photos/", "image"),
        (" .  .", "image"),
        ("\0", "image"),
        (".htaccess", "htaccess"),
        ("  photo.png  ", "photo.png"),
        ("photo.png. . .", "photo.png"),
        ("e\u0301t\u00e9.png", "\u00e9t\u00e9.png"),  # equal-looking names have one form
        ("e\u200b\u0301.png", "\u00e9.png"),
    ],
)
def test_name_is_cleaned_and_never_a_path(name: str, cleaned: str) -> None:
    assert clean_filename(name) == cleaned


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("a" * 255, "a" * 255),
        ("a" * 10_240, "a" * 255),
        ("a" * 10_240 + ".jpeg", "a" * 250 + ".jpeg"),
        ("a" * 250 + "." + "b" * 7, "a" * 247 + "." + "b" * 7),
        ("a" * 250 + "." + "b" * 8, "a" * 250 + ".bbbb"),
        ("a." * 5000 + "png", "a." * 125 + "a.png"),
        ("a" * 254 + " b", "a" * 254),
        ("ä" * 300 + ".png", "ä" * 251 + ".png"),
    ],
)
def test_long_name_is_cut_and_keeps_its_extension(name: str, cleaned: str) -> None:
    assert clean_filename(name) == cleaned


@given(
    st.text(alphabet=st.characters(), max_size=300)
    | st.text(alphabet="./\\ a\0\u0301\u2028\u200bé", max_size=300)
)
def test_cleaned_name_is_valid_for_any_input(name: str) -> None:
    cleaned = clean_filename(name)
    assert 1 <= len(cleaned) <= 255
    assert not set(cleaned) & set("/\\")
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in cleaned)
    assert cleaned == cleaned.strip(" .")
    assert clean_filename(cleaned) == cleaned
    cleaned.encode("utf-8")


@pytest.mark.parametrize(
    ("filename", "image_format", "downloaded"),
    [
        ("photo.png", ImageFormat.PNG, "photo.png"),
        ("photo.png", ImageFormat.BMP, "photo.bmp"),
        ("photo.PNG", ImageFormat.BMP, "photo.bmp"),
        ("photo.JPG", ImageFormat.JPEG, "photo.JPG"),
        ("photo.jpeg", ImageFormat.JPEG, "photo.jpeg"),
        ("photo.jfif", ImageFormat.JPEG, "photo.jfif"),
        ("photo.tif", ImageFormat.TIFF, "photo.tif"),
        ("photo.jpg", ImageFormat.WEBP, "photo.webp"),
        ("photo", ImageFormat.GIF, "photo.gif"),
        ("holiday 12.8.2026", ImageFormat.JPEG, "holiday 12.8.2026.jpg"),
        ("archive.tar.gz", ImageFormat.PNG, "archive.tar.gz.png"),
        ("evil.html", ImageFormat.GIF, "evil.html.gif"),
        ("png", ImageFormat.PNG, "png.png"),
        ("photo.png.jpg", ImageFormat.PNG, "photo.png.png"),
        ("image", ImageFormat.TIFF, "image.tiff"),
    ],
)
def test_download_name_has_the_extension_of_its_format(
    submit_image: Any, filename: str, image_format: ImageFormat, downloaded: str
) -> None:
    image = replace(submit_image(), filename=filename, image_format=image_format)
    assert download_filename(image) == downloaded


# Most file systems allow 255 characters, including a new extension.
def test_download_name_with_new_extension_is_short_enough(submit_image: Any) -> None:
    image = replace(submit_image(), filename="a" * 255, image_format=ImageFormat.TIFF)
    assert download_filename(image) == "a" * 250 + ".tiff"
