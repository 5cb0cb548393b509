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
        ("photo\u202egnp.exe", "photognp.exe"),  # right to left: looks like photoexe.png
        ("\ufeffphoto\u200b.png", "photo.png"),
        ("\ud800photo\udfff.png", "photo.png"),  # bad UTF-8, as surrogates
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
        ("e\u0301t\u00e9.png", "\u00e9t\u00e9.png"),  # one form for what looks the same
        ("e\u200b\u0301.png", "\u00e9.png"),
    ],
)
def test_a_name_is_cleaned_and_never_a_path(name: str, cleaned: str) -> None:
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
def test_a_name_is_cut_to_what_the_table_holds_and_keeps_its_extension(name: str, cleaned: str) -> None:
    assert clean_filename(name) == cleaned


@given(
    st.text(alphabet=st.characters(), max_size=300)
    | st.text(alphabet="./\\ a\0\u0301\u2028\u200bé", max_size=300)
)
def test_no_name_is_ever_unclean(name: str) -> None:
    cleaned = clean_filename(name)
    assert 1 <= len(cleaned) <= 255
    assert not set(cleaned) & set("/\\")
    assert not any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for letter in cleaned)
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
def test_a_downloads_extension_says_what_the_content_is(
    submit_image: Any, filename: str, image_format: ImageFormat, downloaded: str
) -> None:
    image = replace(submit_image(), filename=filename, image_format=image_format)
    assert download_filename(image) == downloaded


# Most file systems hold 255: a name that filled the table must leave room for the extension it gets.
def test_a_downloads_name_with_its_new_extension_is_still_short_enough(submit_image: Any) -> None:
    image = replace(submit_image(), filename="a" * 255, image_format=ImageFormat.TIFF)
    assert download_filename(image) == "a" * 250 + ".tiff"
