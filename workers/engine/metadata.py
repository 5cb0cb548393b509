"""What travels with a picture besides its pixels: EXIF, XMP, colour profile and resolution.

The orientation is applied to the pixels and then no longer stated; sizes that EXIF repeats are dropped,
because they are the original's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

if TYPE_CHECKING:
    from collections.abc import Mapping

_APPLY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# A TIFF keeps EXIF among the tags that describe its own pixels; only these are about the picture's meaning.
_KEPT_TAGS = frozenset(
    {
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.Copyright,
        ExifTags.Base.HostComputer,
        ExifTags.Base.Rating,
        ExifTags.Base.XPTitle,
        ExifTags.Base.XPComment,
        ExifTags.Base.XPAuthor,
        ExifTags.Base.XPKeywords,
        ExifTags.Base.XPSubject,
    }
)
EXIF_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_SIZES = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)

_XMP_ORIENTATION = re.compile(
    rb"""\s*tiff:Orientation\s*=\s*(["'])\d\1|<tiff:Orientation>\s*\d\s*</tiff:Orientation>"""
)


@dataclass(frozen=True)
class Metadata:
    """Each as the bytes that an encoder takes; None where there is nothing."""

    exif: bytes | None = None
    xmp: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None


def upright(image: Image.Image) -> Image.Image:
    """The picture as it is meant to be seen, its EXIF orientation applied. It must be loaded.

    Only what the EXIF block says, as browsers do; ``Image.getexif`` would also look into XMP.
    """
    method = _APPLY_ORIENTATION.get(_orientation(image.info.get("exif")))
    return image if method is None else image.transpose(method)


def load(image: Image.Image) -> None:
    """As the picture's own method, but XMP turns no TIFF, which Pillow turns while it loads."""
    xmp = image.info.pop("xmp", None) if image.format == "TIFF" else None
    image.load()
    if xmp is not None:
        image.info["xmp"] = xmp


def metadata_of(image: Image.Image) -> Metadata:
    """What a picture, once loaded, carries; whatever of it is malformed is left out."""
    info: Mapping[Any, Any] = image.info
    xmp = info.get("xmp", info.get("XML:com.adobe.xmp"))
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return Metadata(
        exif=_exif_bytes(image),
        xmp=_XMP_ORIENTATION.sub(b"", xmp) if isinstance(xmp, bytes) else None,
        icc_profile=info.get("icc_profile") or None,
        dpi=_resolution(info.get("dpi")),
    )


def _orientation(block: bytes | None) -> int:
    exif = Image.Exif()
    try:
        exif.load(block or b"")
        orientation = exif.get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 — as below
        return 1
    return orientation if isinstance(orientation, int) else 1


def _readable_exif(image: Image.Image) -> Image.Exif:
    """Empty when it cannot be read: a broken note about a picture is no reason to refuse the picture."""
    try:
        exif = image.getexif()
        for directory in EXIF_DIRECTORIES:
            exif.get_ifd(directory)
    except Exception:  # noqa: BLE001 — the parser raises whatever it stumbles on
        return Image.Exif()
    return exif


def _exif_bytes(image: Image.Image) -> bytes | None:
    exif = _readable_exif(image)
    kept = Image.Exif()
    kept.update({tag: exif[tag] for tag in _KEPT_TAGS & exif.keys()})
    anything = len(kept) > 0
    for directory in EXIF_DIRECTORIES:
        entries = {tag: value for tag, value in exif.get_ifd(directory).items() if tag not in _SIZES}
        kept.get_ifd(directory).update(entries)
        anything = anything or bool(entries)
    if not anything:
        return None
    try:
        return kept.tobytes()
    except Exception:  # noqa: BLE001 — values of types that cannot be written back
        return None


def _resolution(dpi: object) -> tuple[float, float] | None:
    if not isinstance(dpi, tuple):
        return None
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # A TIFF that states no resolution reads as 1, as do files that only state the shape of a pixel.
    return (across, down) if across > 1 and down > 1 else None
