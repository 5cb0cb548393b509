"""Mutants of the SIZE requirements: size options and sizes of results."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from independent.server import Server
from independent.sizing import MAX_RESULT_PIXELS, MAX_SIDE_PIXELS
from mutants import mutant

if TYPE_CHECKING:
    from independent.codec import DecodedImage
    from independent.envelope import ApiError, Errors
    from independent.forms import Part
    from independent.records import Sizing, StoredImage

_SIZES = {"scale_factor", "target_width", "target_height"}


@mutant("default-scale-factor-four", kills=["SIZE-001"])
class DefaultScaleFactorFour(Server):
    def default_factor(self) -> int:
        return 4


@mutant("accepts-any-scale-factor", kills=["SIZE-002"])
class AcceptsAnyScaleFactor(Server):
    def parse_sizing(self, parts: list[Part], errors: Errors) -> Sizing:
        sizing = super().parse_sizing(parts, errors)
        if errors.pop("scale_factor", None):
            sizing.scale_factor = 2
        return sizing


@mutant("lenient-size-numbers", kills=["SIZE-003", "SIZE-011"])
class LenientSizeNumbers(Server):
    def parse_integer(self, text: str) -> int | None:
        with suppress(ValueError):
            return int(float(text))
        return None


@mutant("target-overrides-scale-factor", kills=["SIZE-004"])
class TargetOverridesScaleFactor(Server):
    def parse_sizing(self, parts: list[Part], errors: Errors) -> Sizing:
        names = {part.name for part in parts}
        if names & {"target_width", "target_height"}:
            parts = [part for part in parts if part.name != "scale_factor"]
        return super().parse_sizing(parts, errors)


@mutant("other-side-rounded-down", kills=["SIZE-005", "SIZE-006"])
class OtherSideRoundedDown(Server):
    def scaled_side(self, side: int, target: int, original: int) -> int:
        return max(1, side * target // original)


@mutant("other-side-half-rounded-to-even", kills=["SIZE-005", "SIZE-006"])
class OtherSideHalfRoundedToEven(Server):
    def scaled_side(self, side: int, target: int, original: int) -> int:
        return max(1, round(side * target / original))


@mutant("both-targets-keep-aspect-ratio", kills=["SIZE-007"])
class BothTargetsKeepAspectRatio(Server):
    def result_size(self, original: tuple[int, int], sizing: Sizing) -> tuple[int, int]:
        width, height = super().result_size(original, sizing)
        if sizing.target_width and sizing.target_height:
            height = self.scaled_side(original[1], width, original[0])
        return width, height


@mutant("requires-both-sides-to-grow", kills=["SIZE-008"])
class RequiresBothSidesToGrow(Server):
    def size_errors(self, decoded: DecodedImage, sizing: Sizing) -> Errors:
        errors = super().size_errors(decoded, sizing)
        result = self.result_size(decoded.size, sizing)
        if not errors and (result[0] <= decoded.size[0] or result[1] <= decoded.size[1]):
            errors["target_width"] = ["The result would not be larger."]
        return errors


@mutant("accepts-target-of-original-size", kills=["SIZE-009"])
class AcceptsTargetOfOriginalSize(Server):
    def target_fits(self, side: int, target: int) -> bool:
        return target == side or super().target_fits(side, target)


@mutant("accepts-target-above-plan-limit", kills=["SIZE-010"])
class AcceptsTargetAbovePlanLimit(Server):
    def target_fits(self, side: int, target: int) -> bool:
        return side < target


@mutant("result-size-unlimited", kills=["SIZE-012"])
class ResultSizeUnlimited(Server):
    def result_fits(self, decoded: DecodedImage, size: tuple[int, int]) -> bool:
        return True

    def process(self, image: StoredImage) -> None:
        with suppress(Exception):  # formats have their own limits
            super().process(image)


@mutant("result-height-unlimited", kills=["SIZE-012", "SIZE-014"])
class ResultHeightUnlimited(Server):
    def result_fits(self, decoded: DecodedImage, size: tuple[int, int]) -> bool:
        return super().result_fits(decoded, (size[0], 1))

    def process(self, image: StoredImage) -> None:
        with suppress(Exception):
            super().process(image)


@mutant("pixel-limit-per-frame", kills=["SIZE-021"])
class PixelLimitPerFrame(Server):
    def result_fits(self, decoded: DecodedImage, size: tuple[int, int]) -> bool:
        return super().result_fits(replace(decoded, frames=decoded.frames[:1]), size)

    def process(self, image: StoredImage) -> None:
        width, height = image.target_size
        if width * height < MAX_RESULT_PIXELS // 4:  # larger results need too much memory for a test
            super().process(image)


@mutant("rejects-target-at-plan-limit", kills=["SIZE-020"])
class RejectsTargetAtPlanLimit(Server):
    def target_fits(self, side: int, target: int) -> bool:
        return side < target < self.largest_factor * side


@mutant("rejects-result-side-16384", kills=["SIZE-013"])
class RejectsResultSide16384(Server):
    def result_fits(self, decoded: DecodedImage, size: tuple[int, int]) -> bool:
        return max(size) < MAX_SIDE_PIXELS and super().result_fits(decoded, size)


@mutant("webp-side-limit-ignored", kills=["SIZE-014"])
class WebpSideLimitIgnored(Server):
    def result_fits(self, decoded: DecodedImage, size: tuple[int, int]) -> bool:
        return max(size) <= MAX_SIDE_PIXELS

    def process(self, image: StoredImage) -> None:
        with suppress(Exception):  # WebP cannot store it
            super().process(image)


@mutant("rejects-empty-size-field", kills=["SIZE-015"])
class RejectsEmptySizeField(Server):
    def parse_sizing(self, parts: list[Part], errors: Errors) -> Sizing:
        for part in parts:
            if part.name in _SIZES and not part.content:
                errors[part.name] = ["It must be a whole number."]
        return super().parse_sizing(parts, errors)


@mutant("target-with-scale-factor", kills=["SIZE-016"])
class TargetWithScaleFactor(Server):
    def sizing_data(self, sizing: Sizing) -> dict[str, Any]:
        return super().sizing_data(sizing) | {"scale_factor": sizing.scale_factor or 2}


@mutant("accepts-repeated-size-field", kills=["SIZE-017"])
class AcceptsRepeatedSizeField(Server):
    def form_errors(self, parts: list[Part], known: set[str], file_field: str) -> Errors:
        return super().form_errors(list({part.name: part for part in parts}.values()), known, file_field)


@mutant("reports-first-error-only", kills=["SIZE-018"])
class ReportsFirstErrorOnly(Server):
    def invalid(self, errors: Errors) -> ApiError:
        return super().invalid(dict(list(errors.items())[:1]))
