"""Whether a result shows what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.images.samples import agreement_db, encoded, frames_of, opened, shown
from conformance.verdicts import Broken

if TYPE_CHECKING:
    from PIL import Image

# Honest enlargements of the kit's pictures agree to 27 dB and more, faults to 21 at most: see ``agreement_db``.
LEAST_AGREEMENT_DB = 24.0


def expect_same_picture(original: Image.Image, result: Image.Image, what: str) -> None:
    """Raises Broken, with both pictures, unless the result of ``what`` is the original enlarged."""
    agreement = agreement_db(original, result)
    if agreement < LEAST_AGREEMENT_DB:
        raise Broken(
            f"{what} does not show what was sent: averaged down to the size of the original, it is "
            f"{agreement:.1f} dB near to it.",
            expected=f"at least {LEAST_AGREEMENT_DB:.0f} dB",
            actual=f"{agreement:.1f} dB",
            pictures=side_by_side(original, result),
        )


def readable_frames(content: bytes, what: str = "The downloaded result") -> list[Image.Image]:
    """All frames or pages of a file that came from the server. Raises Broken for what is no whole picture."""
    try:
        return frames_of(opened(content))
    except Exception as reason:  # whatever Pillow stumbles on
        raise Broken(f"{what} cannot be read as a picture.", actual=content[:40].hex(" ")) from reason


def side_by_side(original: Image.Image, result: Image.Image) -> dict[str, bytes]:
    """For the report."""
    return {"sent": encoded(shown(original), "png"), "result": encoded(shown(result), "png")}
