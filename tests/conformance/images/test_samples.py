"""The kit's limits accept every correct enlargement and reject every fault, with a margin on both sides."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from PIL import Image, ImageChops, ImageOps

from conformance.images.samples import (
    FORMATS,
    MAX_FILE_BYTES,
    OTHER_SIDE,
    SIDE,
    agreement_db,
    all_frames,
    alpha_channel,
    alpha_mask,
    animated,
    bilevel,
    decode,
    detect_format,
    drawing,
    encode,
    exif_orientation,
    flatten,
    huge_png,
    make_sample,
    oriented,
    pad_jpeg,
    png_16_bit,
    psnr,
    scene,
)
from conformance.images.similarity import MIN_AGREEMENT_DB, expect_same_image
from conformance.requirements.img import _MIN_ALPHA_DB, _MIN_GAIN_DB
from conformance.verdicts import CheckFailed

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
def test_every_interpolation_passes_comparison(name: str, factor: int) -> None:
    original = decode(make_sample(name).content)
    for filter_ in (*HONEST, Image.Resampling.NEAREST):
        larger = flatten(original).resize((SIDE * factor, OTHER_SIDE * factor), filter_)

        assert agreement_db(original, decode(encode(larger, name))) > MIN_AGREEMENT_DB + 11


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", FORMATS)
def test_faulty_result_fails_comparison(name: str, fault: str) -> None:
    original = decode(make_sample(name).content)
    larger = FAULTS[fault](flatten(original).resize((SIDE * 4, OTHER_SIDE * 4), Image.Resampling.LANCZOS))

    assert agreement_db(original, decode(encode(larger, name))) < MIN_AGREEMENT_DB - 2.5


def test_failed_comparison_contains_both_images() -> None:
    with pytest.raises(CheckFailed, match="is not the uploaded image") as broken:
        expect_same_image(scene(), ImageOps.mirror(scene()), "The result")

    assert {name: detect_format(content) for name, content in broken.value.images.items()} == {
        "sent": "png",
        "result": "png",
    }


@pytest.mark.parametrize("factor", [2, 4])
def test_every_interpolation_beats_repeated_pixels(factor: int) -> None:
    ideal = drawing(factor)

    def nearness(filter_: Image.Resampling) -> float:
        return psnr(ideal, drawing().resize(ideal.size, filter_))

    repeated = nearness(Image.Resampling.NEAREST)

    assert min(map(nearness, HONEST)) > repeated + 2.5 * _MIN_GAIN_DB


def test_larger_drawing_averages_to_the_small_one() -> None:
    for factor in (2, 3, 4):
        assert psnr(drawing(), drawing(factor).resize((SIDE, OTHER_SIDE), Image.Resampling.BOX)) > 50


def test_opaque_result_fails_alpha_comparison() -> None:
    soft = alpha_mask()
    for filter_ in HONEST:
        larger = soft.resize((SIDE * 2, OTHER_SIDE * 2), filter_)
        assert psnr(soft, larger.resize(soft.size, Image.Resampling.BOX)) > _MIN_ALPHA_DB + 4

    assert psnr(soft, alpha_channel(scene())) < _MIN_ALPHA_DB - 8


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("noted", range(2, 9))
def test_oriented_sample_is_upright_after_exif_rotation(noted: int, name: str) -> None:
    turned_picture = oriented(noted, name)
    as_stored = decode(turned_picture.content)

    assert exif_orientation(as_stored) == noted
    assert agreement_db(scene(), ImageOps.exif_transpose(as_stored)) > 30


@pytest.mark.parametrize("name", ["gif", "png", "webp", "tiff"])
def test_all_frames_and_pages_are_decoded(name: str) -> None:
    frames = [scene(), ImageOps.mirror(scene()), ImageOps.flip(scene())]

    read = all_frames(decode(animated(name, frames).content))

    assert len(read) == 3
    for frame, shown_frame in zip(frames, read, strict=True):
        assert agreement_db(frame, shown_frame) > 30


@pytest.mark.parametrize("image", [scene(), scene().convert("L")], ids=["colour", "gray"])
def test_16_bits_are_reduced_to_8(image: Image.Image) -> None:
    deep = decode(png_16_bit(image))

    assert psnr(image.convert("RGB"), flatten(deep)) > 45


def test_negative_of_bilevel_image_fails_comparison() -> None:
    for filter_ in HONEST:
        larger = bilevel().convert("L").resize((SIDE * 2, OTHER_SIDE * 2), filter_)

        for bits in (larger, larger.convert("1")):
            assert agreement_db(bilevel(), bits) > MIN_AGREEMENT_DB + 6
        assert agreement_db(bilevel(), ImageOps.invert(larger)) < MIN_AGREEMENT_DB - 20


def test_min_is_white_tiff_is_decoded() -> None:
    fax = make_sample("tiff", bilevel(), tiffinfo={262: 0})

    assert decode(fax.content).convert("L").tobytes() == bilevel().convert("L").tobytes()


@pytest.mark.parametrize("size", [MAX_FILE_BYTES, MAX_FILE_BYTES + 1, 70_000, 70_004])
def test_padded_jpeg_has_exact_size(size: int) -> None:
    large = pad_jpeg(make_sample("jpeg").content, size)

    assert len(large) == size
    assert agreement_db(scene(), decode(large)) > 30


def test_huge_png_is_valid_and_small() -> None:
    content = huge_png(20_000)

    assert len(content) < 50_000
    assert struct.unpack(">II", content[16:24]) == (20_000, 20_000)
    assert decode(huge_png(33)).size == (33, 33)
