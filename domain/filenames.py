"""Names of files: what we keep of a client's, and what a result is downloaded under."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from domain.formats import format_named

if TYPE_CHECKING:
    from domain.records import Image

MAX_FILENAME = 255


def clean_filename(name: str) -> str:
    """A name to show and to download under, never a path: the last part, without control characters."""
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(letter for letter in last if not _is_control(letter))
    cleaned = unicodedata.normalize("NFC", printable).strip(" .") or "image"
    stem, dot, extension = cleaned.rpartition(".")
    if len(cleaned) > MAX_FILENAME and dot and len(extension) < 8:  # noqa: PLR2004  # the longest extension worth keeping
        return f"{stem[: MAX_FILENAME - len(extension) - 1]}.{extension}"
    return cleaned[:MAX_FILENAME].rstrip(" .")


def download_filename(image: Image) -> str:
    """The client's own name; its extension put right where the content says otherwise."""
    name = PurePosixPath(image.filename)
    named = format_named(image.filename)
    if named is image.image_format:
        return image.filename
    stem = image.filename if named is None else name.stem
    extension = image.image_format.extension
    return f"{stem[: MAX_FILENAME - len(extension)]}{extension}"


def _is_control(letter: str) -> bool:
    """Also what only steers how text is shown, as right-to-left does, and breaks of lines and paragraphs."""
    category = unicodedata.category(letter)
    return category[0] == "C" or category in {"Zl", "Zp"}
