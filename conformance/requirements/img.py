"""Is the result the picture that was sent, larger?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.catalogue import check
from conformance.pictures import picture
from conformance.verdicts import expect_equal

if TYPE_CHECKING:
    from conformance.kit import Kit


@check("IMG-001")
def a_factor_multiplies_both_sides(kit: Kit) -> None:
    original = picture("png")
    for factor in (2, 3, 4):
        done = kit.completed(original, {"scale_factor": factor})
        width, height = (factor * side for side in original.image.size)
        expect_equal(done.result.size, (width, height), f"The size of the result of scale_factor {factor}")
        expect_equal(done.image["upscaled_dimensions"], f"{width}x{height}", "`upscaled_dimensions`")
