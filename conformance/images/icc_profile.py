"""A colour profile with an obvious effect, and the conversion of an image from its profile to sRGB."""

from __future__ import annotations

import io
import struct

from PIL import Image, ImageCms

_D50 = (0.9642, 1.0, 0.8249)  # white point of ICC.1
# The primaries of sRGB, adapted to D50.
_RED, _GREEN, _BLUE = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
_GAMMA = 2.2
_HEADER_BYTES, _ENTRY_BYTES = 128, 12


def channel_swapping_profile() -> bytes:
    """Return an ICC profile (ICC.1:2001-04, matrix and gamma 2.2) of a screen that swaps red and blue."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(_GAMMA * 256)) + bytes(2)
    name = b"Blue, green, red\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text" + bytes(4) + b"No copyright, use freely\0",
        b"wtpt": _xyz(_D50),
        b"rXYZ": _xyz(_BLUE),
        b"gXYZ": _xyz(_GREEN),
        b"bXYZ": _xyz(_RED),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, data = struct.pack(">I", len(tags)), b""
    start = _HEADER_BYTES + len(table) + _ENTRY_BYTES * len(tags)
    for tag, element in tags.items():
        table += tag + struct.pack(">II", start + len(data), len(element))
        data += element + bytes(-len(element) % 4)
    body = table + data
    header = struct.pack(">I4sI", _HEADER_BYTES + len(body), bytes(4), 0x02100000) + b"mntrRGB XYZ "
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _numbers(_D50)
    return header.ljust(_HEADER_BYTES, b"\0") + body


def to_srgb(image: Image.Image) -> Image.Image:
    """Return the image converted to sRGB as RGB, without alpha; the same image if it has no profile.

    Raise ImageCms.PyCMSError for an invalid profile.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    shown = ImageCms.profileToProfile(
        image.convert("RGB"), io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert shown is not None  # None only for a conversion in place
    return shown


def _xyz(values: tuple[float, float, float]) -> bytes:
    """Return a tag of type XYZ with one triple (ICC.1, 10.31)."""
    return b"XYZ " + bytes(4) + _numbers(values)


def _numbers(values: tuple[float, float, float]) -> bytes:
    """Return the values as s15Fixed16Number: signed, big-endian, in units of 1/65536."""
    return struct.pack(">3i", *(round(value * 65536) for value in values))
