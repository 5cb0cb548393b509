"""Whether a result shows what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.images.samples import agreement_db, all_frames, decode, encode, flatten
from conformance.verdicts import CheckFailed

if TYPE_CHECKING:
    from PIL import Image

# Honest enlargements of the kit's pictures agree to 27 dB and more, faults to 21 at most: see ``agreement_db``.
MIN_AGREEMENT_DB = 24.0


def expect_same_image(original: Image.Image, result: Image.Image, what: str) -> None:
    """Raises Broken, with both pictures, unless the result of ``what`` is the original enlarged."""
    agreement = agreement_db(original, result)
    if agreement < MIN_AGREEMENT_DB:
        raise CheckFailed(
            f"{what} does not show what was sent: averaged down to the size of the original, it is "
            f"{agreement:.1f} dB near to it.",
            expected=f"at least {MIN_AGREEMENT_DB:.0f} dB",
            actual=f"{agreement:.1f} dB",
            images=side_by_side(original, result),
        )


def readable_frames(content: bytes, what: str = "The downloaded result") -> list[Image.Image]:
    """All frames or pages of a file that came from the server. Raises Broken for what is no whole picture."""
    try:
        return all_frames(decode(content))
    except Exception as reason:  # whatever Pillow stumbles on
        raise CheckFailed(f"{what} cannot be read as a picture.", actual=content[:40].hex(" ")) from reason


def side_by_side(original: Image.Image, result: Image.Image) -> dict[str, bytes]:
    """For the report."""
    return {"sent": encode(flatten(original), "png"), "result": encode(flatten(result), "png")}
