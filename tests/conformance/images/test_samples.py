"""The kit's bounds for pictures have room on both sides: every honest enlargement passes, every fault does not."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from PIL import Image, ImageChops, ImageOps

from conformance.images.samples import (
    FORMATS,
    MOST_BYTES,
    OTHER_SIDE,
    SIDE,
    agreement_db,
    deep_png,
    drawing,
    encoded,
    format_of,
    frames_of,
    mask,
    moving,
    opacity,
    opened,
    orientation,
    padded,
    picture,
    psnr,
    scene,
    shown,
    turned,
    two_levels,
    vast_png,
)
from conformance.images.similarity import LEAST_AGREEMENT_DB, expect_same_picture
from conformance.requirements.img import _LEAST_GAIN_DB, _LEAST_OPACITY_DB
from conformance.verdicts import Broken

HONEST = (
    Image.Resampling.LANCZOS,
    Image.Resampling.BICUBIC,
    Image.Resampling.HAMMING,
    Image.Resampling.BILINEAR,
)


def cropped(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((w // 10, h // 10, w - w // 10, h - h // 10)).resize(image.size)


def swapped(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, green, red))


FAULTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blank": lambda image: Image.new("RGB", image.size, (128, 128, 128)),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "turned": lambda image: image.rotate(180),
    "shifted by a pixel of the original": lambda image: ImageChops.offset(image, image.width // SIDE, 0),
    "cropped": cropped,
    "of other colours": swapped,
    "negative": ImageOps.invert,
    "gray": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("name", FORMATS)
def test_every_interpolation_shows_the_same_picture(name: str, factor: int) -> None:
    original = opened(picture(name).content)
    for filter_ in (*HONEST, Image.Resampling.NEAREST):
        larger = shown(original).resize((SIDE * factor, OTHER_SIDE * factor), filter_)

        assert agreement_db(original, opened(encoded(larger, name))) > LEAST_AGREEMENT_DB + 11


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", FORMATS)
def test_another_picture_is_told_from_it(name: str, fault: str) -> None:
    original = opened(picture(name).content)
    larger = FAULTS[fault](shown(original).resize((SIDE * 4, OTHER_SIDE * 4), Image.Resampling.LANCZOS))

    assert agreement_db(original, opened(encoded(larger, name))) < LEAST_AGREEMENT_DB - 2.5


def test_a_fault_is_shown_with_both_pictures() -> None:
    with pytest.raises(Broken, match="does not show what was sent") as broken:
        expect_same_picture(scene(), ImageOps.mirror(scene()), "The result")

    assert {name: format_of(content) for name, content in broken.value.pictures.items()} == {
        "sent": "png",
        "result": "png",
    }


@pytest.mark.parametrize("factor", [2, 4])
def test_every_interpolation_is_nearer_to_a_sharp_drawing_than_repeated_pixels(factor: int) -> None:
    ideal = drawing(factor)

    def nearness(filter_: Image.Resampling) -> float:
        return psnr(ideal, drawing().resize(ideal.size, filter_))

    repeated = nearness(Image.Resampling.NEAREST)

    assert min(map(nearness, HONEST)) > repeated + 2.5 * _LEAST_GAIN_DB


def test_a_drawing_is_what_a_finer_one_is_reduced_to() -> None:
    for factor in (2, 3, 4):
        assert psnr(drawing(), drawing(factor).resize((SIDE, OTHER_SIDE), Image.Resampling.BOX)) > 50


def test_an_opaque_result_is_told_from_a_transparent_one() -> None:
    soft = mask()
    for filter_ in HONEST:
        larger = soft.resize((SIDE * 2, OTHER_SIDE * 2), filter_)
        assert psnr(soft, larger.resize(soft.size, Image.Resampling.BOX)) > _LEAST_OPACITY_DB + 4

    assert psnr(soft, opacity(scene())) < _LEAST_OPACITY_DB - 8


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("noted", range(2, 9))
def test_a_turned_picture_is_upright_once_its_note_is_obeyed(noted: int, name: str) -> None:
    turned_picture = turned(noted, name)
    as_stored = opened(turned_picture.content)

    assert orientation(as_stored) == noted
    assert agreement_db(scene(), ImageOps.exif_transpose(as_stored)) > 30


@pytest.mark.parametrize("name", ["gif", "png", "webp", "tiff"])
def test_frames_and_pages_are_all_read(name: str) -> None:
    frames = [scene(), ImageOps.mirror(scene()), ImageOps.flip(scene())]

    read = frames_of(opened(moving(name, frames).content))

    assert len(read) == 3
    for frame, shown_frame in zip(frames, read, strict=True):
        assert agreement_db(frame, shown_frame) > 30


@pytest.mark.parametrize("image", [scene(), scene().convert("L")], ids=["colour", "gray"])
def test_sixteen_bits_are_shown_as_eight(image: Image.Image) -> None:
    deep = opened(deep_png(image))

    assert psnr(image.convert("RGB"), shown(deep)) > 45


def test_one_bit_is_told_from_its_negative() -> None:
    for filter_ in HONEST:
        larger = two_levels().convert("L").resize((SIDE * 2, OTHER_SIDE * 2), filter_)

        for bits in (larger, larger.convert("1")):
            assert agreement_db(two_levels(), bits) > LEAST_AGREEMENT_DB + 6
        assert agreement_db(two_levels(), ImageOps.invert(larger)) < LEAST_AGREEMENT_DB - 20


def test_a_fax_has_white_zeros() -> None:
    fax = picture("tiff", two_levels(), tiffinfo={262: 0})

    assert opened(fax.content).convert("L").tobytes() == two_levels().convert("L").tobytes()


@pytest.mark.parametrize("size", [MOST_BYTES, MOST_BYTES + 1, 70_000, 70_004])
def test_comments_make_a_jpeg_exactly_so_large(size: int) -> None:
    large = padded(picture("jpeg").content, size)

    assert len(large) == size
    assert agreement_db(scene(), opened(large)) > 30


def test_a_vast_picture_is_whole_and_small() -> None:
    content = vast_png(20_000)

    assert len(content) < 50_000
    assert struct.unpack(">II", content[16:24]) == (20_000, 20_000)
    assert opened(vast_png(33)).size == (33, 33)
