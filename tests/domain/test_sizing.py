from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import FieldProblem, InvalidFields
from domain.formats import ImageFormat
from domain.sizing import SCALE_FACTORS, Caps, Size, Sizing

PHOTO = Size(1920, 1080)
CAPS = Caps()

sides = st.integers(1, 20_000)
sizes = st.builds(Size, sides, sides)


def found(sizing: Sizing, original: Size, max_scale: int = 4, caps: Caps = CAPS) -> list[tuple[str, str]]:
    return [(problem.field, problem.rule) for problem in sizing.problems(original, max_scale, caps)]


# --- options


def test_scale_factors_match_the_contract() -> None:
    assert SCALE_FACTORS == (2, 3, 4)


def test_default_scale_factor_is_two() -> None:
    assert Sizing.from_options() == Sizing(scale_factor=2)
    assert Sizing.from_options().result(PHOTO) == Size(3840, 2160)


@pytest.mark.parametrize(
    "target", [{"target_width": 3000}, {"target_height": 2000}, {"target_width": 3000, "target_height": 2000}]
)
def test_factor_combined_with_a_target_is_refused(target: dict[str, int]) -> None:
    with pytest.raises(InvalidFields) as caught:
        Sizing.from_options(scale_factor=2, **target)
    assert caught.value.problems == (FieldProblem("scale_factor", "excluded_by_target"),)


# In the response to a request with a target, the factor is null, not the default.
def test_target_replaces_the_default_factor() -> None:
    assert Sizing.from_options(target_width=3000).scale_factor is None


# --- the size of the result


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_factor_multiplies_both_sides(factor: int) -> None:
    assert Sizing(scale_factor=factor).result(PHOTO) == Size(1920 * factor, 1080 * factor)


def test_two_targets_are_exact_and_may_change_the_ratio() -> None:
    assert Sizing(target_width=2000, target_height=4000).result(PHOTO) == Size(2000, 4000)


@pytest.mark.parametrize(
    ("original", "target_width", "height"),
    [
        (Size(1920, 1080), 3840, 2160),
        (Size(2, 3), 3, 5),  # 4.5 is rounded up
        (Size(4, 1), 5, 1),  # 1.25 is rounded down, to the original's height
        (Size(4, 1), 6, 2),  # 1.5 is rounded up
        (Size(4, 3), 6, 5),  # 4.5 is rounded up to an odd number, not half to even
        (Size(1000, 1), 1001, 1),  # 1.001
        (Size(3, 7), 4, 9),  # 9.33
        (Size(3, 8), 4, 11),  # 10.67
    ],
)
def test_computed_side_is_rounded_half_up(original: Size, target_width: int, height: int) -> None:
    assert Sizing(target_width=target_width).result(original) == Size(target_width, height)
    turned = Size(original.height, original.width)
    assert Sizing(target_height=target_width).result(turned) == Size(height, target_width)


# Compared with exact fractions: floats, and Python's rounding half to even, can be off by one.
@given(sizes, st.integers(1, 20_000))
def test_computed_side_is_exact_for_every_size(original: Size, target: int) -> None:
    exact = max(1, floor(Fraction(original.height * target, original.width) + Fraction(1, 2)))
    assert Sizing(target_width=target).result(original) == Size(target, exact)
    exact = max(1, floor(Fraction(original.width * target, original.height) + Fraction(1, 2)))
    assert Sizing(target_height=target).result(original) == Size(exact, target)


# This happens only for refused targets, but a result must never have zero pixels.
def test_computed_side_is_at_least_one_pixel() -> None:
    assert Sizing(target_width=1).result(Size(1000, 1)) == Size(1, 1)


# --- limits


def test_target_must_be_larger_than_the_original() -> None:
    assert Sizing(target_width=1920).problems(PHOTO, 4, CAPS) == [
        FieldProblem("target_width", "larger_than_original", {"side": 1920})
    ]
    assert found(Sizing(target_width=1919), PHOTO) == [("target_width", "larger_than_original")]
    assert found(Sizing(target_width=1921), PHOTO) == []


# Each given dimension must grow; a larger one does not compensate for the other.
def test_each_given_target_must_be_larger() -> None:
    assert found(Sizing(target_width=3840, target_height=1080), PHOTO) == [
        ("target_height", "larger_than_original")
    ]
    assert found(Sizing(target_width=1920, target_height=1080), PHOTO) == [
        ("target_width", "larger_than_original"),
        ("target_height", "larger_than_original"),
    ]


# Only the given dimension has to grow: 1000×1 with a target width of 1001 keeps the height 1.
def test_computed_side_may_equal_the_original() -> None:
    sizing = Sizing(target_width=1001)
    assert sizing.result(Size(1000, 1)) == Size(1001, 1)
    assert found(sizing, Size(1000, 1)) == []


@pytest.mark.parametrize("max_scale", [2, 3, 4])
def test_target_is_limited_by_the_plans_scale(max_scale: int) -> None:
    assert found(Sizing(target_width=100 * max_scale), Size(100, 50), max_scale) == []
    assert Sizing(target_width=100 * max_scale + 1).problems(Size(100, 50), max_scale, CAPS) == [
        FieldProblem("target_width", "within_plan_scale", {"maximum": 100 * max_scale})
    ]
    both = Sizing(target_width=101, target_height=50 * max_scale + 1)
    assert found(both, Size(100, 50), max_scale) == [("target_height", "within_plan_scale")]


# 3×1 with a target width of 11 is within 4 times the size; the rounded height of 4 is too.
def test_computed_side_stays_within_the_plans_scale() -> None:
    assert found(Sizing(target_width=12), Size(3, 1)) == []
    assert Sizing(target_width=11).result(Size(3, 1)) == Size(11, 4)


@pytest.mark.parametrize(("factor", "max_scale"), [(3, 2), (4, 2), (4, 3)])
def test_factor_is_limited_by_the_plans_scale(factor: int, max_scale: int) -> None:
    assert found(Sizing(scale_factor=factor), PHOTO, max_scale) == [("scale_factor", "within_plan_scale")]


def test_factor_may_equal_the_plans_scale() -> None:
    assert found(Sizing(scale_factor=3), PHOTO, max_scale=3) == []


# --- frames and pages


def test_every_frame_gets_the_requested_size() -> None:
    sizing = Sizing(target_width=2000, target_height=4000)
    assert sizing.results([PHOTO] * 3) == [Size(2000, 4000)] * 3


def test_every_page_is_scaled_like_the_first() -> None:
    pages = [Size(100, 50), Size(30, 40), Size(1, 1)]
    assert Sizing(scale_factor=3).results(pages) == [Size(300, 150), Size(90, 120), Size(3, 3)]
    assert Sizing(target_width=250).results(pages) == [Size(250, 125), Size(75, 100), Size(3, 3)]
    assert Sizing(target_width=150, target_height=200).results(pages) == [
        Size(150, 200), Size(45, 160), Size(2, 4),
    ]  # fmt: skip


def test_pixels_of_all_frames_count_together() -> None:
    caps, frame, twice = Caps(max_pixels=1200), Size(10, 10), Sizing(scale_factor=2)
    assert twice.problems(frame, 4, caps, [frame] * 2) == []
    assert twice.problems(frame, 4, caps, [frame] * 3) == [
        FieldProblem("scale_factor", "result_pixels", {"maximum": 1200})
    ]


def test_page_with_a_side_over_the_cap_is_refused() -> None:
    assert Sizing(target_width=20).problems(Size(10, 10), 4, Caps(max_side=100), [Size(10, 51)]) == [
        FieldProblem("target_width", "result_side", {"maximum": 100})
    ]


# --- caps of the result


def test_side_may_equal_the_cap() -> None:
    assert found(Sizing(scale_factor=4), Size(4096, 1)) == []
    assert Sizing(scale_factor=4).problems(Size(4097, 1), 4, CAPS) == [
        FieldProblem("scale_factor", "result_side", {"maximum": 16_384})
    ]


def test_target_may_equal_the_cap() -> None:
    assert found(Sizing(target_width=16_384), Size(8192, 1)) == []
    assert found(Sizing(target_width=16_384, target_height=16_384), Size(8192, 8192)) == []
    assert found(Sizing(target_width=16_385), Size(8192, 1)) == [("target_width", "result_side")]


def test_webp_cap_is_one_pixel_less() -> None:
    caps = CAPS.for_format(ImageFormat.WEBP)
    assert caps == Caps(max_side=16_383)
    assert found(Sizing(scale_factor=3), Size(5461, 1), caps=caps) == []
    assert found(Sizing(scale_factor=4), Size(4096, 1), caps=caps) == [("scale_factor", "result_side")]
    assert found(Sizing(target_height=16_384), Size(1, 8192), caps=caps) == [("target_height", "result_side")]


@pytest.mark.parametrize("image_format", [each for each in ImageFormat if each is not ImageFormat.WEBP])
def test_other_formats_have_the_default_caps(image_format: ImageFormat) -> None:
    assert CAPS.for_format(image_format) == CAPS


def test_smaller_configured_cap_applies_to_webp() -> None:
    assert Caps(max_side=1000).for_format(ImageFormat.WEBP).max_side == 1000


def test_result_may_have_as_many_pixels_as_the_cap() -> None:
    caps = Caps(max_pixels=10_000)
    assert found(Sizing(scale_factor=2), Size(50, 50), caps=caps) == []
    assert Sizing(scale_factor=2).problems(Size(50, 51), 4, caps) == [
        FieldProblem("scale_factor", "result_pixels", {"maximum": 10_000})
    ]


def test_default_caps_allow_a_square_of_the_maximum_side() -> None:
    assert CAPS.max_side**2 == CAPS.max_pixels
    assert found(Sizing(scale_factor=4), Size(4096, 4096)) == []


# The computed side is over the cap because of the requested one.
def test_computed_side_counts_for_the_caps() -> None:
    assert found(Sizing(target_width=200), Size(100, 10_000)) == [("target_width", "result_side")]
    assert found(Sizing(target_height=200), Size(10_000, 100)) == [("target_height", "result_side")]
    small = Caps(max_pixels=10_000)
    assert found(Sizing(target_height=101), Size(100, 100), caps=small) == [
        ("target_height", "result_pixels")
    ]


# The error is reported for the requested field: of two targets, for the one that is too long.
def test_target_over_the_cap_is_reported() -> None:
    original = Size(8000, 8000)
    assert found(Sizing(target_width=9000, target_height=16_385), original) == [
        ("target_height", "result_side")
    ]
    assert found(Sizing(target_width=16_385, target_height=9000), original) == [
        ("target_width", "result_side")
    ]
    assert found(Sizing(target_width=16_385, target_height=16_385), original) == [
        ("target_width", "result_side"),
        ("target_height", "result_side"),
    ]


# Errors of different kinds are reported together.
def test_problems_of_both_targets_are_reported() -> None:
    assert found(Sizing(target_width=8000, target_height=16_385), Size(8000, 8000)) == [
        ("target_width", "larger_than_original"),
        ("target_height", "result_side"),
    ]


def test_too_large_default_factor_is_reported_as_factor() -> None:
    assert found(Sizing.from_options(), Size(8193, 1)) == [("scale_factor", "result_side")]


sizings = st.one_of(
    st.builds(Sizing, scale_factor=st.integers(2, 4)),
    st.builds(Sizing, target_width=sides),
    st.builds(Sizing, target_height=sides),
    st.builds(Sizing, target_width=sides, target_height=sides),
)


@st.composite
def sizings_near_limits(draw: st.DrawFn) -> tuple[Sizing, Size, int]:
    """Draw a sizing, an original size and a plan's scale, which are often near the limits."""
    original = draw(st.builds(Size, st.integers(1, 9000), st.integers(1, 9000)))
    max_scale = draw(st.integers(2, 4))
    width = draw(st.integers(original.width, original.width * max_scale + 1))
    height = draw(st.integers(original.height, original.height * max_scale + 1))
    sizing = draw(
        st.sampled_from(
            [
                Sizing(scale_factor=max_scale),
                Sizing(target_width=width),
                Sizing(target_height=height),
                Sizing(target_width=width, target_height=height),
            ]
        )
    )
    return sizing, original, max_scale


@given(sizings_near_limits(), st.sampled_from(list(ImageFormat)))
def test_accepted_sizing_satisfies_every_limit(
    case: tuple[Sizing, Size, int], image_format: ImageFormat
) -> None:
    sizing, original, max_scale = case
    caps = CAPS.for_format(image_format)
    assume(not sizing.problems(original, max_scale, caps))
    result = sizing.result(original)
    assert max(result) <= caps.max_side
    assert result.pixels <= caps.max_pixels
    assert original.width <= result.width <= original.width * max_scale
    assert original.height <= result.height <= original.height * max_scale
    assert result != original


@given(sizings, sizes, st.integers(2, 4))
def test_only_requested_fields_are_reported(sizing: Sizing, original: Size, max_scale: int) -> None:
    reported = [field for field, _rule in found(sizing, original, max_scale)]
    assert all(getattr(sizing, field) is not None for field in reported)
    assert len(set(reported)) == len(reported)


# --- sizes


@given(sizes)
def test_size_can_be_written_and_parsed(size: Size) -> None:
    assert Size.parse(str(size)) == size


def test_size_is_written_as_width_x_height() -> None:
    assert str(PHOTO) == "1920x1080"
    assert PHOTO.pixels == 2_073_600
