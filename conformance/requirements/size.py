"""How large is the result to be, and which wishes are refused?"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from PIL import Image

from conformance.catalogue import check
from conformance.images.samples import Sample, animated, make_sample, oriented, scene
from conformance.images.similarity import expect_same_image
from conformance.plans import max_factor
from conformance.verdicts import expect, expect_equal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.client import Response
    from conformance.kit import Kit

_LONGEST_SIDE = 16_384
_LONGEST_SIDE_OF_WEBP = 16_383
# Where the server does not say what its plan allows: no plan has ever gone as far as this.
_FAR_TOO_LARGE = 256
_LARGEST_ASKED = 16  # where a plan goes further than that, no server has to work for so long
_NO_WHOLE_NUMBERS = ("2.0", "+2", "2 ", "abc", "1_0", "1e1", "\uff12", "0x2")  # the last but one is a wide 2


@check("SIZE-001")
def nothing_chosen_means_two(kit: Kit) -> None:
    original = make_sample("png", stem="default")
    done = kit.images.completed(original)
    expect_equal(
        done.accepted["scale_factor"], 2, "`scale_factor` of an image that was sent without any size"
    )
    _expect_size(done.result, (128, 96), "nothing")


@check("SIZE-002")
def a_factor_out_of_range_is_refused(kit: Kit) -> None:
    for factor in (0, 1, 5, -2, 1000):
        _expect_refused(kit, {"scale_factor": factor}, "scale_factor")


@check("SIZE-003")
def a_factor_is_a_whole_number(kit: Kit) -> None:
    for factor in _NO_WHOLE_NUMBERS:
        _expect_refused(kit, {"scale_factor": factor}, "scale_factor")


@check("SIZE-004")
def a_factor_excludes_a_target(kit: Kit) -> None:
    for target in ({"target_width": 128}, {"target_height": 96}, {"target_width": 128, "target_height": 96}):
        _expect_refused(kit, {"scale_factor": 2, **target}, "scale_factor")


@check("SIZE-005")
def the_height_follows_a_target_width(kit: Kit) -> None:
    # 51 × 96/64 = 76.5: half, upwards. 51 × 97/64 = 77.3: not always upwards. 51 × 99/64 = 78.9: not always downwards.
    original = make_sample("png", scene(64, 51), "wide")
    for width, height in ((96, 77), (97, 77), (99, 79)):
        done = kit.images.completed(original, {"target_width": width})
        _expect_size(done.result, (width, height), f"target_width {width} for 64x51 pixels")
        expect_same_image(original.image, done.result, f"The result of target_width {width}")


@check("SIZE-006")
def the_width_follows_a_target_height(kit: Kit) -> None:
    original = make_sample("png", scene(51, 64), "high")
    for width, height in ((77, 96), (77, 97), (79, 99)):
        done = kit.images.completed(original, {"target_height": height})
        _expect_size(done.result, (width, height), f"target_height {height} for 51x64 pixels")
        expect_same_image(original.image, done.result, f"The result of target_height {height}")


@check("SIZE-007")
def two_targets_are_met_exactly(kit: Kit) -> None:
    original = make_sample("png")
    targets = {"target_width": 100, "target_height": 150}
    done = kit.images.completed(original, targets)
    _expect_size(done.result, (100, 150), "target_width 100 and target_height 150")
    expect_same_image(original.image, done.result, "The result of two targets that change the proportions")


@check("SIZE-008")
def the_side_that_follows_may_stay_as_it_was(kit: Kit) -> None:
    original = make_sample("png", scene(40, 1), "line")
    _expect_size(
        kit.images.completed(original, {"target_width": 41}).result,
        (41, 1),
        "target_width 41 for 40x1 pixels",
    )


@check("SIZE-009")
def a_target_is_larger_than_the_original(kit: Kit) -> None:
    for fields, wrong in (
        ({"target_width": 64}, "target_width"),
        ({"target_width": 20}, "target_width"),
        ({"target_height": 48}, "target_height"),
        ({"target_height": 20}, "target_height"),
        ({"target_width": 64, "target_height": 96}, "target_width"),
        ({"target_width": 128, "target_height": 48}, "target_height"),
    ):
        _expect_refused(kit, fields, wrong)


@check("SIZE-010")
def a_target_is_within_the_plan(kit: Kit) -> None:
    most = max_factor(kit.owner)
    if most == inf:
        return  # nothing is beyond it
    most = int(most or _FAR_TOO_LARGE)
    original = make_sample("png", scene(16, 12), "small")
    for field, side in (("target_width", 16), ("target_height", 12)):
        _expect_refused(kit, {field: side * most + 1}, field, original)


@check("SIZE-011")
def a_target_is_a_whole_number_from_one(kit: Kit) -> None:
    for field in ("target_width", "target_height"):
        for value in ("0", "-100", "100.0", "abc", "1_00", "100 "):
            _expect_refused(kit, {field: value}, field)


@check("SIZE-012")
def no_side_is_over_16384(kit: Kit) -> None:
    half = _line(_LONGEST_SIDE // 2)
    _expect_refused(kit, {"target_width": _LONGEST_SIDE + 1}, "target_width", half)
    over = _line(_LONGEST_SIDE // 2 + 1)
    _expect_refused(kit, {"scale_factor": 2}, "scale_factor", over)
    _expect_refused(kit, {}, "scale_factor", over)
    _expect_refused(kit, {"target_height": 2}, "target_height", over)
    high = _line(_LONGEST_SIDE // 2 + 1, upright=True)
    _expect_refused(kit, {"scale_factor": 2}, "scale_factor", high)
    _expect_refused(kit, {"target_width": 2}, "target_width", high)


@check("SIZE-013")
def a_side_of_16384_is_allowed(kit: Kit) -> None:
    done = kit.images.completed(_line(_LONGEST_SIDE // 2), {"target_width": _LONGEST_SIDE})
    _expect_size(done.result, (_LONGEST_SIDE, 2), "target_width 16384 for 8192x1 pixels")


@check("SIZE-014")
def no_side_of_a_webp_is_over_16383(kit: Kit) -> None:
    line = _line(_LONGEST_SIDE // 2, "webp")
    _expect_refused(kit, {"scale_factor": 2}, "scale_factor", line)
    _expect_refused(kit, {"target_width": _LONGEST_SIDE_OF_WEBP + 1}, "target_width", line)
    high = _line(_LONGEST_SIDE // 2, "webp", upright=True)
    _expect_refused(kit, {"scale_factor": 2}, "scale_factor", high)


@check("SIZE-015")
def an_empty_value_counts_as_not_sent(kit: Kit) -> None:
    original = make_sample("png", stem="empty")
    nothing = {"scale_factor": "", "target_width": "", "target_height": ""}
    accepted = kit.images.upload(original, nothing)
    expect_equal(accepted["scale_factor"], 2, "`scale_factor` of an image whose sizes were sent empty")
    done = kit.images.completed(original, {"scale_factor": "", "target_width": 96})
    _expect_size(done.result, (96, 72), "target_width 96 beside an empty scale_factor")


@check("SIZE-016")
def the_answer_repeats_what_was_chosen(kit: Kit) -> None:
    for fields in ({"scale_factor": 3}, {"target_width": 100, "target_height": 150}, {"target_width": 96}):
        done = kit.images.completed(make_sample("png"), fields)
        for where, data in (("the answer to the upload", done.accepted), ("the image", done.image)):
            for name in ("scale_factor", "target_width", "target_height"):
                expect_equal(
                    data.get(name), fields.get(name), f"`{name}` in {where} of one sent with {fields}"
                )


@check("SIZE-017")
def a_value_that_is_sent_twice_is_refused(kit: Kit) -> None:
    original = make_sample("png")
    part = (kit.images.filename(original), original.content, original.media_type)
    for name, values in (("scale_factor", ("2", "3")), ("target_width", ("100", "100"))):
        fields = [(name, (None, value)) for value in values]
        _expect_named(kit.images.try_form([("image", part), *fields]), name, f"`{name}` twice")


@check("SIZE-018")
def every_wrong_field_is_named(kit: Kit) -> None:
    response = kit.images.try_upload(
        make_sample("png").with_content(b"no picture"), {"scale_factor": 9, "target_width": "wide"}
    )
    for name in ("image", "scale_factor", "target_width"):
        _expect_named(response, name, "three wrong fields")


@check("SIZE-019")
def sizes_are_those_of_the_picture_as_displayed(kit: Kit) -> None:
    # Displayed 64x48, stored 48x64: a target of 56 is larger than only one of the two heights.
    original = oriented(6)
    done = kit.images.completed(original, {"target_height": 56})
    _expect_size(done.result, (75, 56), "target_height 56 for 64x48 pixels that are stored as 48x64")
    _expect_refused(kit, {"target_width": 56}, "target_width", original)


@check("SIZE-020")
def a_target_may_be_as_large_as_the_plan_allows(kit: Kit) -> None:
    told = max_factor(kit.owner)
    every = 2  # which every plan allows
    most = int(told) if told and every <= told <= _LARGEST_ASKED else every
    original = make_sample("png", scene(16, 12), "small")
    width, height = 16 * most, 12 * most
    for targets in ({"target_width": width}, {"target_width": width, "target_height": height}):
        asked = " and ".join(f"{name} {value}" for name, value in targets.items())
        _expect_size(
            kit.images.completed(original, targets).result, (width, height), f"{asked} for 16x12 pixels"
        )


@check("SIZE-021")
def the_pixels_of_all_frames_count(kit: Kit) -> None:
    # 18 megapixels together, which four times as wide and high are 288; one frame alone is within the cap.
    original = animated("gif", [Image.new("L", (3000, 3000), level) for level in (40, 200)], "vast")
    response = kit.images.try_upload(original, {"scale_factor": 4}).permitted()
    errors = response.expect(422, why="with too many pixels").errors
    # How many a picture may have that is sent is the server's own.
    expect(
        {"scale_factor", "image"} & set(errors),
        "The refusal of two frames of 3000x3000 pixels at scale_factor 4 does not name the field.",
        expected="scale_factor or image",
        actual=sorted(errors),
    )


def _line(length: int, name: str = "png", *, upright: bool = False) -> Sample:
    """One row, or column, of dark and light pieces: long, and yet quickly worked on."""
    row = Image.new("L", (length, 1), 40)
    row.paste(200, (length // 3, 0, length // 2, 1))
    line = row.transpose(Image.Transpose.ROTATE_90) if upright else row
    return make_sample(name, line.convert("RGB") if name == "webp" else line, f"line-{length}")


def _expect_size(result: Image.Image, size: tuple[int, int], asked: str) -> None:
    expect_equal(result.size, size, f"The size of the result of {asked}")


def _expect_refused(
    kit: Kit, fields: Mapping[str, object], wrong: str, original: Sample | None = None
) -> None:
    original = original or make_sample("png")
    width, height = original.image.size
    sent = ", ".join(f"{name}={value}" for name, value in fields.items()) or "no size"
    _expect_named(kit.images.try_upload(original, fields), wrong, f"{sent} for {width}x{height} pixels")


def _expect_named(response: Response, field: str, what: str) -> None:
    errors = response.expect(422, why=f"with {what}").errors
    expect(
        field in errors,
        f"The refusal of {what} does not name the field `{field}`.",
        expected=field,
        actual=sorted(errors),
    )
