"""The kit's profile is valid, and its loss is detected."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageCms

from conformance.images.icc_profile import channel_swapping_profile, to_srgb
from conformance.images.samples import agreement_db, decode, encode, psnr, scene
from conformance.images.similarity import MIN_AGREEMENT_DB


def swapped() -> Image.Image:
    red, green, blue = scene().split()
    return Image.merge("RGB", (blue, green, red))


def test_profile_is_complete() -> None:
    content = channel_swapping_profile()

    assert int.from_bytes(content[:4], "big") == len(content)
    read = ImageCms.ImageCmsProfile(io.BytesIO(content))
    assert ImageCms.getProfileDescription(read).strip() == "Blue, green, red"
    assert ImageCms.isIntentSupported(read, ImageCms.Intent.PERCEPTUAL, ImageCms.Direction.INPUT) == 1


@pytest.mark.parametrize("name", ["png", "jpeg"])
def test_profile_is_applied(name: str) -> None:
    seen = to_srgb(decode(encode(swapped(), name, icc_profile=channel_swapping_profile())))

    assert psnr(scene(), seen) > MIN_AGREEMENT_DB + 5


def test_image_without_profile_is_unchanged() -> None:
    assert to_srgb(scene()) is scene()


@pytest.mark.parametrize("name", ["png", "jpeg"])
def test_lost_profile_is_detected(name: str) -> None:
    original = decode(encode(swapped(), name, icc_profile=channel_swapping_profile()))
    larger = original.resize((128, 96), Image.Resampling.BILINEAR)
    converted = to_srgb(original).resize((128, 96), Image.Resampling.BILINEAR)
    larger.info.clear()

    assert agreement_db(to_srgb(original), converted) > MIN_AGREEMENT_DB + 11
    assert agreement_db(to_srgb(original), to_srgb(larger)) < MIN_AGREEMENT_DB - 11
