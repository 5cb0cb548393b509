"""Checks of the size options and of the size of results."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from PIL import Image

from conformance.catalogue import check
from conformance.images.samples import Sample, animated, make_sample, oriented, scene
from conformance.images.similarity import expect_same_image
from conformance.plans import max_factor
from conformance.requirements.rejections import expect_rejected_for_any
from conformance.verdicts import expect_equal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.kit import Kit

_MAX_SIDE = 16_384
_MAX_SIDE_WEBP = 16_383
_BEYOND_ANY_PLAN = 256  # for a server that does not publish the largest factor of its plan
_MAX_REQUESTED_FACTOR = 16  # a larger factor of a plan would need too much time
_INVALID_INTEGERS = ("2.0", "+2", "2 ", "abc", "1_0", "1e1", "\uff12", "0x2")  # \uff12 is a fullwidth 2


@check("SIZE-001")
def check_default_factor(kit: Kit) -> None:
    """Check that an upload without options has factor 2 in the response, and a result of twice the size."""
    done = kit.images.completed(make_sample("png", stem="default"))
    expect_equal(done.accepted["scale_factor"], 2, "`scale_factor` of an image without size options")
    expect_equal(done.result.size, (128, 96), "The size of the result without size options")


@check("SIZE-002")
def check_factor_range(kit: Kit) -> None:
    """Check that a factor other than 2, 3 and 4 returns 422 on ``scale_factor``."""
    for factor in (0, 1, 5, -2, 1000):
        _expect_options_rejected(kit, {"scale_factor": factor}, "scale_factor")


@check("SIZE-003")
def check_factor_notation(kit: Kit) -> None:
    """Check that a factor with anything but decimal digits returns 422 on ``scale_factor``."""
    for factor in _INVALID_INTEGERS:
        _expect_options_rejected(kit, {"scale_factor": factor}, "scale_factor")


@check("SIZE-004")
def check_factor_with_target(kit: Kit) -> None:
    """Check that a factor together with a target is rejected."""
    for target in ({"target_width": 128}, {"target_height": 96}, {"target_width": 128, "target_height": 96}):
        _expect_options_rejected(kit, {"scale_factor": 2, **target}, "scale_factor")


@check("SIZE-005")
def check_computed_height(kit: Kit) -> None:
    """Check that the height follows a target width, with halves rounded up."""
    # 51 × 96/64 = 76.5 and 51 × 99/64 = 78.9 are rounded up, 51 × 97/64 = 77.3 is rounded down.
    sample = make_sample("png", scene(64, 51), "wide")
    for size in ((96, 77), (97, 77), (99, 79)):
        _expect_target_met(kit, sample, {"target_width": size[0]}, size)


@check("SIZE-006")
def check_computed_width(kit: Kit) -> None:
    """Check that the width follows a target height, with halves rounded up."""
    sample = make_sample("png", scene(51, 64), "high")
    for size in ((77, 96), (77, 97), (79, 99)):
        _expect_target_met(kit, sample, {"target_height": size[1]}, size)


@check("SIZE-007")
def check_two_targets(kit: Kit) -> None:
    """Check that two targets that change the proportions are met exactly."""
    targets = {"target_width": 100, "target_height": 150}
    _expect_target_met(kit, make_sample("png"), targets, (100, 150))


@check("SIZE-008")
def check_computed_side_of_one(kit: Kit) -> None:
    """Check that a line of 40 × 1 pixels with ``target_width`` 41 has a result of 41 × 1."""
    sample = make_sample("png", scene(40, 1), "line")
    _expect_size(kit, sample, {"target_width": 41}, (41, 1))


@check("SIZE-009")
def check_small_targets(kit: Kit) -> None:
    """Check that a target that is not larger than the original's side returns 422 on this target."""
    for options, field in (
        ({"target_width": 64}, "target_width"),
        ({"target_width": 20}, "target_width"),
        ({"target_height": 48}, "target_height"),
        ({"target_height": 20}, "target_height"),
        ({"target_width": 64, "target_height": 96}, "target_width"),
        ({"target_width": 128, "target_height": 48}, "target_height"),
    ):
        _expect_options_rejected(kit, options, field)


@check("SIZE-010")
def check_target_beyond_plan(kit: Kit) -> None:
    """Check that a target beyond the largest factor of the plan returns 422 on this target.

    A factor beyond any plan is used if the server does not publish one. Pass if the plan has no limit.
    """
    largest = max_factor(kit.owner)
    if largest == inf:
        return
    factor = int(largest or _BEYOND_ANY_PLAN)
    sample = make_sample("png", scene(16, 12), "small")
    for field, side in (("target_width", 16), ("target_height", 12)):
        _expect_options_rejected(kit, {field: side * factor + 1}, field, sample)


@check("SIZE-011")
def check_target_notation(kit: Kit) -> None:
    """Check that a target that is not a whole number from 1 in decimal digits returns 422 on this target."""
    for field in ("target_width", "target_height"):
        for value in ("0", "-100", "100.0", "abc", "1_00", "100 "):
            _expect_options_rejected(kit, {field: value}, field)


@check("SIZE-012")
def check_max_side(kit: Kit) -> None:
    """Check that a result with a side over 16,384 is rejected with an error on the option that caused it."""
    half = _line(_MAX_SIDE // 2)
    _expect_options_rejected(kit, {"target_width": _MAX_SIDE + 1}, "target_width", half)
    wide = _line(_MAX_SIDE // 2 + 1)
    _expect_options_rejected(kit, {"scale_factor": 2}, "scale_factor", wide)
    _expect_options_rejected(kit, {}, "scale_factor", wide)
    _expect_options_rejected(kit, {"target_height": 2}, "target_height", wide)
    high = _line(_MAX_SIDE // 2 + 1, vertical=True)
    _expect_options_rejected(kit, {"scale_factor": 2}, "scale_factor", high)
    _expect_options_rejected(kit, {"target_width": 2}, "target_width", high)


@check("SIZE-013")
def check_side_at_maximum(kit: Kit) -> None:
    """Check that a result with a side of exactly 16,384 is accepted and has this size."""
    _expect_size(kit, _line(_MAX_SIDE // 2), {"target_width": _MAX_SIDE}, (_MAX_SIDE, 2))


@check("SIZE-014")
def check_max_side_of_webp(kit: Kit) -> None:
    """Check that a WebP with a result side over 16,383 returns 422 on the option that caused it."""
    wide = _line(_MAX_SIDE // 2, "webp")
    _expect_options_rejected(kit, {"scale_factor": 2}, "scale_factor", wide)
    _expect_options_rejected(kit, {"target_width": _MAX_SIDE_WEBP + 1}, "target_width", wide)
    high = _line(_MAX_SIDE // 2, "webp", vertical=True)
    _expect_options_rejected(kit, {"scale_factor": 2}, "scale_factor", high)


@check("SIZE-015")
def check_empty_options(kit: Kit) -> None:
    """Check that empty size options count as not sent: alone, and beside a target, which is then met."""
    sample = make_sample("png", stem="empty")
    accepted = kit.images.upload(sample, {"scale_factor": "", "target_width": "", "target_height": ""})
    expect_equal(accepted["scale_factor"], 2, "`scale_factor` of an image with empty size options")
    _expect_size(kit, sample, {"scale_factor": "", "target_width": 96}, (96, 72))


@check("SIZE-016")
def check_repeated_options(kit: Kit) -> None:
    """Check that the response to an upload and the image have exactly the options that were sent."""
    for options in ({"scale_factor": 3}, {"target_width": 100, "target_height": 150}, {"target_width": 96}):
        done = kit.images.completed(make_sample("png"), options)
        for where, data in (("the response to an upload", done.accepted), ("an image", done.image)):
            for name in ("scale_factor", "target_width", "target_height"):
                expect_equal(data.get(name), options.get(name), f"`{name}` in {where} with {options}")


@check("SIZE-017")
def check_option_sent_twice(kit: Kit) -> None:
    """Check that ``scale_factor`` and ``target_width`` return 422 with an error on the option if they are
    sent twice.
    """
    sample = make_sample("png")
    part = (kit.images.filename(sample), sample.content, sample.media_type)
    for name, values in (("scale_factor", ("2", "3")), ("target_width", ("100", "100"))):
        parts = [("image", part), *((name, (None, value)) for value in values)]
        kit.images.try_form(parts).expect_rejected(name, why=f"with `{name}` twice")


@check("SIZE-018")
def check_all_invalid_fields_are_named(kit: Kit) -> None:
    """Check that an invalid file, factor and target return one 422 with an error on each of the three."""
    sample = make_sample("png").with_content(b"no image")
    response = kit.images.try_upload(sample, {"scale_factor": 9, "target_width": "wide"})
    response.expect_rejected("image", "scale_factor", "target_width", why="with three invalid fields")


@check("SIZE-019")
def check_displayed_size(kit: Kit) -> None:
    """Check that a target is compared with the displayed size, and not with the stored one."""
    # The sample is displayed as 64x48 and stored as 48x64, so 56 is larger than only one of the two heights.
    sample = oriented(6)
    _expect_size(kit, sample, {"target_height": 56}, (75, 56))
    _expect_options_rejected(kit, {"target_width": 56}, "target_width", sample)


@check("SIZE-020")
def check_target_at_maximum(kit: Kit) -> None:
    """Check that targets of exactly the largest factor of the plan are met.

    Factor 2 is used if the server does not publish the largest one, or if it is over
    ``_MAX_REQUESTED_FACTOR``.
    """
    largest = max_factor(kit.owner)
    default = 2  # every plan allows it
    factor = int(largest) if largest and default <= largest <= _MAX_REQUESTED_FACTOR else default
    sample = make_sample("png", scene(16, 12), "small")
    width, height = 16 * factor, 12 * factor
    for targets in ({"target_width": width}, {"target_width": width, "target_height": height}):
        _expect_size(kit, sample, targets, (width, height))


@check("SIZE-021")
def check_pixels_of_all_frames(kit: Kit) -> None:
    """Check that two frames whose results have too many pixels together return 422 on ``scale_factor`` or
    ``image``.
    """
    # The result would have 288 megapixels, but each of its two frames is within the limit.
    sample = animated("gif", [Image.new("L", (3000, 3000), level) for level in (40, 200)], "vast")
    response = kit.images.try_upload(sample, {"scale_factor": 4}).permitted()
    # A server may also limit the pixels of an upload.
    why = "with two frames of 3000x3000 pixels at scale_factor 4"
    expect_rejected_for_any(response, "scale_factor", "image", why=why)


def _line(length: int, image_format: str = "png", *, vertical: bool = False) -> Sample:
    """Return an image of one row or column, which is long but fast to process."""
    row = Image.new("L", (length, 1), 40)
    row.paste(200, (length // 3, 0, length // 2, 1))
    line = row.transpose(Image.Transpose.ROTATE_90) if vertical else row
    return make_sample(
        image_format, line.convert("RGB") if image_format == "webp" else line, f"line-{length}"
    )


def _describe(sample: Sample, options: Mapping[str, object]) -> str:
    """Return the options and the sample's size as text for a message."""
    width, height = sample.image.size
    sent = ", ".join(f"{name}={value}" for name, value in options.items()) or "no option"
    return f"{sent} for {width}x{height} pixels"


def _expect_size(
    kit: Kit, sample: Sample, options: Mapping[str, object], size: tuple[int, int]
) -> Image.Image:
    """Upload the sample with these options, wait for its end and return the downloaded result.

    ``size`` is the expected width and height in pixels. Raise CheckFailed if the upload is rejected, the image is not
    completed, or the result has another size.
    """
    result = kit.images.completed(sample, options).result
    expect_equal(result.size, size, f"The size of the result with {_describe(sample, options)}")
    return result


def _expect_target_met(
    kit: Kit, sample: Sample, targets: Mapping[str, object], size: tuple[int, int]
) -> None:
    """Upload the sample and wait; raise CheckFailed unless the result has the size and shows the sample."""
    result = _expect_size(kit, sample, targets, size)
    expect_same_image(sample.image, result, f"The result with {_describe(sample, targets)}")


def _expect_options_rejected(
    kit: Kit, options: Mapping[str, object], field: str, sample: Sample | None = None
) -> None:
    """Raise CheckFailed unless an upload with these options returns 422 with an error on the field.

    The default sample is a PNG of 64x48 pixels.
    """
    sample = sample or make_sample("png")
    response = kit.images.try_upload(sample, options)
    response.expect_rejected(field, why=f"with {_describe(sample, options)}")
