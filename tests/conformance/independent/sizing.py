"""The size options of an upload, and the size of its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from independent.records import Sizing
from independent.request_parsing import RequestParsing

if TYPE_CHECKING:
    from independent.codec import DecodedImage
    from independent.envelope import Errors
    from independent.forms import Part

MAX_SIDE_PIXELS, MAX_RESULT_PIXELS = 16_384, 268_435_456


class SizingRules(RequestParsing):
    """The rules for result sizes. All sizes are width and height in pixels."""

    def parse_sizing(self, parts: list[Part], errors: Errors) -> Sizing:
        """Return the size options of a form, and add the errors that do not depend on the image to ``errors``."""
        bounds = {
            "scale_factor": (2, self.largest_factor),
            "target_width": (1, MAX_SIDE_PIXELS),
            "target_height": (1, MAX_SIDE_PIXELS),
        }
        sizing = Sizing()
        for part in parts:
            if part.name in bounds and part.name not in errors and part.content:
                low, high = bounds[part.name]
                number = self.parse_integer(part.text)
                if number is None or not low <= number <= high:
                    errors[part.name] = [f"It must be a whole number between {low} and {high}."]
                else:
                    setattr(sizing, part.name, number)
        if sizing.scale_factor and (sizing.target_width or sizing.target_height):
            errors["scale_factor"] = self.factor_and_target_errors()
        if sizing.target_width is None and sizing.target_height is None and sizing.scale_factor is None:
            sizing.scale_factor = self.default_factor()
        return sizing

    def default_factor(self) -> int:
        """Return the scale factor of an upload without size options."""
        return 2

    def factor_and_target_errors(self) -> list[str]:
        """Return the errors of a scale factor together with a target."""
        return ["The scale factor does not go together with a target."]

    def has_sizing_errors(self, errors: Errors) -> bool:
        """Return True if a size option has an error."""
        return bool({"scale_factor", "target_width", "target_height"} & set(errors))

    def size_errors(self, decoded: DecodedImage, sizing: Sizing) -> Errors:
        """Return the errors of the options for this image, by option."""
        errors: Errors = {}
        for name, side in zip(("target_width", "target_height"), decoded.size, strict=True):
            target = getattr(sizing, name)
            if target is not None and not self.target_fits(side, target):
                errors[name] = ["It must be larger than the original, and at most 4 times as large."]
        if not errors and not self.result_fits(decoded, self.result_size(decoded.size, sizing)):
            targets = [name for name in ("target_width", "target_height") if getattr(sizing, name)]
            errors[targets[0] if targets else "scale_factor"] = ["The result would be too large."]
        return errors

    def target_fits(self, side: int, target: int) -> bool:
        """Return True if the target enlarges the side, at most by the plan's factor."""
        return side < target <= self.largest_factor * side

    def result_fits(self, decoded: DecodedImage, size: tuple[int, int]) -> bool:
        """Return True if the result stays below the limits for sides and pixels of all frames."""
        width, height = size
        longest = MAX_SIDE_PIXELS - 1 if decoded.format == "webp" else MAX_SIDE_PIXELS
        return max(size) <= longest and width * height * len(decoded.frames) <= MAX_RESULT_PIXELS

    def result_size(self, original: tuple[int, int], sizing: Sizing) -> tuple[int, int]:
        """Return the size of the result. A single target keeps the aspect ratio."""
        width, height = original
        if sizing.target_width and sizing.target_height:
            return sizing.target_width, sizing.target_height
        if sizing.target_width:
            return sizing.target_width, self.scaled_side(height, sizing.target_width, width)
        if sizing.target_height:
            return self.scaled_side(width, sizing.target_height, height), sizing.target_height
        factor = self.scale_factor(sizing)
        return width * factor, height * factor

    def scale_factor(self, sizing: Sizing) -> int:
        """Return the scale factor of options without a target."""
        assert sizing.scale_factor is not None
        return sizing.scale_factor

    def scaled_side(self, side: int, target: int, original: int) -> int:
        """Return ``side * target / original``, with halves rounded up, and at least 1."""
        return max(1, (2 * side * target + original) // (2 * original))
