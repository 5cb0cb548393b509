"""The metadata of an image: EXIF, XMP, colour profile and resolution.

The orientation is applied to the pixels and then removed. Sizes that EXIF repeats are removed because they
are the original's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from workers.engine.options import MetadataPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_APPLY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# A TIFF stores EXIF among the tags that describe its own pixels; only these describe the content.
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
    rb"""\s?tiff:Orientation\s*=\s*(["'])\d\1|<tiff:Orientation>\s*\d\s*</tiff:Orientation>"""
)


# Properties of XMP with a location: the GPS of a camera, and places as IPTC and Photoshop name them. They are
# found by name, with any prefix, as an attribute or as an element with all its content.
_PLACE = (
    rb"(?:GPS\w*|\w{0,40}Latitude|\w{0,40}Longitude|Lat|Long|Location\w*|Sub-?location|City|State|Province\w*"
    rb"|Country\w*|WorldRegion)"
)
_XMP_PLACE = re.compile(
    rb"""\s[\w.-]+:%(place)s\s*=\s*(?:"[^"]*"|'[^']*')"""
    rb"""|<((?:[\w.-]+:)?%(place)s)(?:\s[^<>]*?)?(?:/>|>.*?</\1\s*>)""" % {b"place": _PLACE},
    re.IGNORECASE | re.DOTALL,
)
_PLACE_NAME = re.compile(rb"[:<]" + _PLACE + rb"\b", re.IGNORECASE)
# The size of one segment of a JPEG. The search can need time with the square of the length for a hostile
# packet.
_SEARCHED_XMP_BYTES = 65_502


@dataclass(frozen=True)
class Metadata:
    """The metadata in the form that encoders accept; None where there is none."""

    exif: bytes | None = None
    xmp: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None


def apply_orientation(image: Image.Image) -> Image.Image:
    """Return the loaded image upright, by its EXIF orientation.

    Only the EXIF block counts, as in browsers; ``Image.getexif`` would read XMP as well.
    """
    method = _APPLY_ORIENTATION.get(_orientation(image.info.get("exif")))
    return image if method is None else image.transpose(method)


def load_pixels(image: Image.Image) -> None:
    """Load the image like its own method, but do not let XMP rotate a TIFF, which Pillow does while it loads."""
    xmp = image.info.pop("xmp", None) if image.format == "TIFF" else None
    image.load()
    if xmp is not None:
        image.info["xmp"] = xmp


def metadata_of(image: Image.Image) -> Metadata:
    """Return the metadata of a loaded image, without malformed parts and without an orientation in XMP."""
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
    """Return the orientation in an EXIF block, 1 to 8; 1 (upright) without one or if it cannot be read."""
    exif = Image.Exif()
    try:
        exif.load(block or b"")
        orientation = exif.get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001  # the parser raises many kinds of errors
        return 1
    return orientation if isinstance(orientation, int) else 1


def _readable_exif(image: Image.Image) -> Image.Exif:
    """Return the EXIF of the image, empty if it is malformed: that is no reason to reject the image."""
    try:
        exif = image.getexif()
        for directory in EXIF_DIRECTORIES:
            exif.get_ifd(directory)
    except Exception:  # noqa: BLE001  # the parser raises many kinds of errors
        return Image.Exif()
    return exif


@lru_cache(maxsize=1)  # all frames of an animation have the same metadata
def apply_policy(metadata: Metadata, policy: MetadataPolicy) -> Metadata:
    """Return the metadata without the parts that the operator's policy removes."""
    match policy:
        case MetadataPolicy.KEEP:
            return metadata
        case MetadataPolicy.STRIP_LOCATION:
            return replace(
                metadata,
                exif=None if metadata.exif is None else _exif_without_location(metadata.exif),
                xmp=None if metadata.xmp is None else _xmp_without_location(metadata.xmp),
            )
        case MetadataPolicy.STRIP:
            return replace(metadata, exif=None, xmp=None)


def _exif_without_location(block: bytes) -> bytes | None:
    """Return EXIF without GPS and without the maker's note, whose format only its maker knows."""
    exif = Image.Exif()
    exif.load(block)
    exif.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.Base.MakerNote, None)
    return _exif_block(exif, (ExifTags.IFD.Exif,))


def _xmp_without_location(packet: bytes) -> bytes | None:
    """Return XMP without locations; None if they cannot all be separated from the rest."""
    # With a zero byte it is not UTF-8, and the search would find nothing.
    if len(packet) > _SEARCHED_XMP_BYTES or b"\0" in packet:
        return None
    rest = _XMP_PLACE.sub(b"", packet)
    return None if _PLACE_NAME.search(rest) else rest


def _exif_bytes(image: Image.Image) -> bytes | None:
    """Return the image's EXIF block with all its directories; None if there is nothing readable in it."""
    return _exif_block(_readable_exif(image), EXIF_DIRECTORIES)


def _exif_block(exif: Image.Exif, directories: Iterable[int]) -> bytes | None:
    """Return the EXIF tags to keep, with these directories without the image's size.

    Return None if nothing is left, or if a value cannot be written.
    """
    kept = Image.Exif()
    kept.update({tag: exif[tag] for tag in _KEPT_TAGS & exif.keys()})
    anything = len(kept) > 0
    for directory in directories:
        entries = {tag: value for tag, value in exif.get_ifd(directory).items() if tag not in _SIZES}
        if entries:  # an empty directory would still be referenced, and libtiff fails on that
            kept.get_ifd(directory).update(entries)
            anything = True
    if not anything:
        return None
    try:
        return kept.tobytes()
    except Exception:  # noqa: BLE001  # some types cannot be written
        return None


def _resolution(dpi: object) -> tuple[float, float] | None:
    """Return the resolution in dots per inch; None if it is missing or invalid."""
    if not isinstance(dpi, tuple):
        return None
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # A TIFF without a resolution reads as 1, as do files that state only the shape of a pixel.
    return (across, down) if across > 1 and down > 1 else None
