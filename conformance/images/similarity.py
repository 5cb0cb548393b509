"""Comparison of results with their originals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.images.samples import agreement_db, all_frames, decode, encode, flatten
from conformance.verdicts import CheckFailed

if TYPE_CHECKING:
    from PIL import Image

# Correct enlargements of the samples reach at least 27 dB and faulty ones at most 21: see ``agreement_db``.
MIN_AGREEMENT_DB = 24.0


def expect_same_image(original: Image.Image, result: Image.Image, what: str) -> None:
    """Raise CheckFailed, with both images, unless the result, named by ``what``, is the enlarged original.

    It is, with an agreement of at least 24 dB after averaging it down. The size of the result is not checked.
    """
    agreement = agreement_db(original, result)
    if agreement < MIN_AGREEMENT_DB:
        raise CheckFailed(
            f"{what} is not the uploaded image: averaged down to the original's size, it reaches {agreement:.1f} dB.",
            expected=f"at least {MIN_AGREEMENT_DB:.0f} dB",
            actual=f"{agreement:.1f} dB",
            images=side_by_side(original, result),
        )


def readable_frames(content: bytes, what: str = "The downloaded result") -> list[Image.Image]:
    """Return all frames or pages of a file, with palettes resolved.

    Raise CheckFailed, with ``what`` in the message, if any of them cannot be decoded.
    """
    try:
        return all_frames(decode(content))
    except Exception as reason:  # Pillow raises many types
        raise CheckFailed(f"{what} cannot be read as an image.", actual=content[:40].hex(" ")) from reason


def side_by_side(original: Image.Image, result: Image.Image) -> dict[str, bytes]:
    """Return both images as PNG files for the report."""
    return {"sent": encode(flatten(original), "png"), "result": encode(flatten(result), "png")}
