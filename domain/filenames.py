"""File names: clean those of uploads, and make those of downloads."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from domain.formats import format_from_filename

if TYPE_CHECKING:
    from domain.records import Image

MAX_FILENAME = 255
_MAX_EXTENSION = 7  # characters; a longer part after the last dot is not treated as an extension


def clean_filename(name: str) -> str:
    """Return the last part of an uploaded file's name without control characters, at most MAX_FILENAME long.

    It is in Unicode's form NFC, without spaces and dots at its ends; ``image`` if nothing is left. A name
    that is too long keeps an extension of up to seven characters.
    """
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(character for character in last if not _is_control(character))
    cleaned = unicodedata.normalize("NFC", printable).strip(" .") or "image"
    stem, dot, extension = cleaned.rpartition(".")
    if len(cleaned) > MAX_FILENAME and dot and len(extension) <= _MAX_EXTENSION:
        return f"{stem[: MAX_FILENAME - len(extension) - 1]}.{extension}"
    return cleaned[:MAX_FILENAME].rstrip(" .")


def download_filename(image: Image) -> str:
    """Return the uploaded name, with its extension replaced if it does not match the image's format.

    If the name has no extension of a supported format, the extension is appended. A changed name is cut to
    MAX_FILENAME characters.
    """
    name = PurePosixPath(image.filename)
    claimed_format = format_from_filename(image.filename)
    if claimed_format is image.image_format:
        return image.filename
    stem = image.filename if claimed_format is None else name.stem
    extension = image.image_format.extension
    return f"{stem[: MAX_FILENAME - len(extension)]}{extension}"


def _is_control(character: str) -> bool:
    """Return whether it is a control or format character (such as right-to-left), or a line or paragraph break."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in {"Zl", "Zp"}
