"""The size of a result: a scale factor, or one or two target dimensions, within the caps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from domain.errors import FieldProblem, InvalidFields
from domain.formats import ImageFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

SCALE_FACTORS = (2, 3, 4)
DEFAULT_SCALE_FACTOR = 2
_WEBP_MAX_SIDE = 16_383  # pixels: WebP stores a side in 14 bits


class Size(NamedTuple):
    """A size in pixels as displayed, with the EXIF orientation applied."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Return width × height."""
        return self.width * self.height

    def __str__(self) -> str:
        """Return the size as ``WIDTHxHEIGHT``."""
        return f"{self.width}x{self.height}"

    @classmethod
    def parse(cls, text: str) -> Size:
        """Return the size in a text such as ``"1920x1080"``, the form that ``str`` writes.

        Raise ValueError.
        """
        width, height = text.split("x")
        return cls(int(width), int(height))


@dataclass(frozen=True)
class Caps:
    """Limits of every result, in pixels; ``max_pixels`` counts all frames or pages together."""

    max_side: int = 16_384
    max_pixels: int = 268_435_456

    def for_format(self, image_format: ImageFormat) -> Caps:
        """Return the caps, reduced to what the format can store."""
        if image_format is ImageFormat.WEBP:
            return replace(self, max_side=min(self.max_side, _WEBP_MAX_SIDE))
        return self


@dataclass(frozen=True)
class Sizing:
    """The requested size: a scale factor, or a target with at least one dimension, never both."""

    scale_factor: int | None = None
    target_width: int | None = None
    target_height: int | None = None

    @classmethod
    def from_options(
        cls,
        scale_factor: int | None = None,
        target_width: int | None = None,
        target_height: int | None = None,
    ) -> Sizing:
        """Return the sizing for the request's options; without any, the default factor.

        Raise InvalidFields if a factor and a target are combined. Their ranges are not checked here.
        """
        has_target = target_width is not None or target_height is not None
        if scale_factor is not None and has_target:
            raise InvalidFields([FieldProblem("scale_factor", "excluded_by_target")])
        if not has_target and scale_factor is None:
            scale_factor = DEFAULT_SCALE_FACTOR
        return cls(scale_factor, target_width, target_height)

    def result(self, original: Size) -> Size:
        """Return the exact size of the result for an image of this size, without checking limits.

        Without one of the two targets, that side keeps the ratio, rounded half up, at least 1. Two targets
        may change the ratio.
        """
        if self.scale_factor is not None:
            return Size(original.width * self.scale_factor, original.height * self.scale_factor)
        if self.target_width is not None and self.target_height is not None:
            return Size(self.target_width, self.target_height)
        if self.target_width is not None:
            return Size(self.target_width, _scaled(original.height, self.target_width, original.width))
        assert self.target_height is not None
        return Size(_scaled(original.width, self.target_height, original.height), self.target_height)

    def results(self, originals: Sequence[Size]) -> list[Size]:
        """Return the size of the result of each frame or page, in the order of ``originals``.

        The first gets the requested size. The sides of the others are multiplied by the ratios of the first, width and
        height apart, rounded half up, and at least 1. ``originals`` must not be empty. No limit is checked.
        """
        first = originals[0]
        result = self.result(first)
        return [
            Size(
                _scaled(original.width, result.width, first.width),
                _scaled(original.height, result.height, first.height),
            )
            for original in originals
        ]

    def problems(
        self, original: Size, max_scale: int, caps: Caps, other_sizes: Sequence[Size] = ()
    ) -> list[FieldProblem]:
        """Return the errors of this sizing for an image of this size.

        ``other_sizes`` are the sizes of its other frames or pages. Each target must be above the original
        side, at most ``max_scale`` times it and within ``caps``; it gets at most one error. A factor must be
        at most ``max_scale``. Only without these errors are the results of all frames or pages checked
        against ``caps``.
        """
        problems = []
        targets = (
            ("target_width", self.target_width, original.width),
            ("target_height", self.target_height, original.height),
        )
        for field, target, side in targets:
            if target is None:
                continue
            if target <= side:
                problems.append(FieldProblem(field, "larger_than_original", {"side": side}))
            elif target > side * max_scale:
                problems.append(FieldProblem(field, "within_plan_scale", {"maximum": side * max_scale}))
            elif target > caps.max_side:
                problems.append(FieldProblem(field, "result_side", {"maximum": caps.max_side}))
        if self.scale_factor is not None and self.scale_factor > max_scale:
            problems.append(FieldProblem("scale_factor", "within_plan_scale", {"maximum": max_scale}))
        return problems or self._problems_of_results(self.results([original, *other_sizes]), caps)

    def _problems_of_results(self, results: Sequence[Size], caps: Caps) -> list[FieldProblem]:
        """Return at most one problem of the results.

        It is a side that is too long, or else too many pixels in total. It is reported for the requested
        field; for ``target_width`` if both targets are requested.
        """
        # The targets themselves were checked before, so a side that is too long follows from the ratio, from
        # the factor, or from another frame or page.
        requested_field = next(
            field
            for field, value in (
                ("scale_factor", self.scale_factor),
                ("target_width", self.target_width),
                ("target_height", self.target_height),
            )
            if value is not None
        )
        if max(map(max, results)) > caps.max_side:
            return [FieldProblem(requested_field, "result_side", {"maximum": caps.max_side})]
        if sum(result.pixels for result in results) > caps.max_pixels:
            return [FieldProblem(requested_field, "result_pixels", {"maximum": caps.max_pixels})]
        return []


def _scaled(side: int, numerator: int, denominator: int) -> int:
    """Return ``side × numerator / denominator``, rounded half up, at least 1.

    Only integers are used: floating-point rounding could be off by one.
    """
    return max(1, (2 * side * numerator + denominator) // (2 * denominator))
