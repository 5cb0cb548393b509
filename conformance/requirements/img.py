"""Checks of results: their size, format, content, transparency, colours, orientation and frames."""

from __future__ import annotations

import re
from email.message import Message
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageCms, ImageOps

from conformance.catalogue import check
from conformance.images.icc_profile import channel_swapping_profile, to_srgb
from conformance.images.samples import (
    FORMATS,
    MEDIA_TYPES,
    Sample,
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
    make_sample,
    oriented,
    png_16_bit,
    psnr,
    scene,
)
from conformance.images.similarity import expect_same_image, readable_frames, side_by_side
from conformance.verdicts import CheckFailed, expect_at_least, expect_equal, expect_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.kit import Kit
    from conformance.kit.images import CompletedImage

_EXTENSIONS = {
    name: {f".{name}", *more}
    for name, more in zip(FORMATS, ((".jpg", ".jpe", ".jfif"), (), (), (".dib",), (".tif",), ()), strict=True)
}
_UNREGISTERED_TYPES = {"bmp": {"image/x-ms-bmp", "image/x-bmp"}}  # in common use
# Measured on the drawing, in dB nearer than repeated pixels: Hamming 1.0 and more, bilinear 1.3, bicubic 2.3,
# Lanczos 2.6, the networks of Real-ESRGAN 1.8 (x4plus-anime), 4.7 (x4plus) and 7.5; repeated pixels 0.0.
_MIN_GAIN_DB = 0.3
# Measured: bilinear 27 dB, Real-ESRGAN's alpha 28.5; alpha of only 0 and 255 18.4, an opaque result 5.
_MIN_ALPHA_DB = 22.0
_PHOTOMETRIC = 262  # the TIFF tag that says whether 0 is black or white
_MAX_TINT = 16  # of 255 levels between the channels of gray; JPEG and palettes round
_MAX_ALPHA_LOSS = 8  # of 255 levels of opaque pixels, for lossy encoders


def different_frames() -> list[Image.Image]:
    """Return three frames that no encoder merges."""
    return [scene(), ImageOps.mirror(scene()), ImageOps.flip(scene())]


@check("IMG-001")
def check_factors(kit: Kit) -> None:
    """Check that the factors 2, 3 and 4 multiply both sides of the result, and that ``upscaled_dimensions``
    states this size.
    """
    sample = make_sample("png")
    for factor in (2, 3, 4):
        done = kit.images.completed(sample, {"scale_factor": factor})
        width, height = (factor * side for side in sample.image.size)
        expect_equal(done.result.size, (width, height), f"The size of the result of scale_factor {factor}")
        expect_equal(done.image["upscaled_dimensions"], f"{width}x{height}", "`upscaled_dimensions`")


@check("IMG-002")
def check_formats(kit: Kit) -> None:
    """Check that the result of each of the six formats has the same format and twice the size."""
    for name in FORMATS:
        done = _complete_in_format(kit, make_sample(name), f"a {name.upper()}")
        expect_equal(done.result.size, (128, 96), f"The size of the result of a {name.upper()}")


@check("IMG-003")
def check_types_and_names(kit: Kit) -> None:
    """Check that the media type and the names of each result match its content."""
    for name in FORMATS:
        done = kit.images.completed(make_sample(name), {"scale_factor": 2})
        _expect_type_and_names(kit, done, detect_format(done.content) or name)


@check("IMG-004")
def check_content(kit: Kit) -> None:
    """Check that results in all formats and at all factors show the uploaded image."""
    for name, factor in [*((name, 2) for name in FORMATS), ("png", 3), ("png", 4)]:
        sample = make_sample(name)
        done = kit.images.completed(sample, {"scale_factor": factor})
        what = f"The result of a {name.upper()} at scale_factor {factor}"
        expect_same_image(decode(sample.content), done.result, what)


@check("IMG-005")
def check_sharpness(kit: Kit) -> None:
    """Check that the result of a drawing is nearer to a sharp drawing than repeated pixels."""
    sample = make_sample("png", drawing(), "drawing")
    for factor in (2, 4):
        result = flatten(kit.images.completed(sample, {"scale_factor": factor}).result)
        sharp = drawing(factor)
        expect_equal(result.size, sharp.size, f"The size of the result of scale_factor {factor}")
        repeated_db = psnr(sharp, drawing().resize(sharp.size, Image.Resampling.NEAREST))
        result_db = psnr(sharp, result)
        if result_db - repeated_db < _MIN_GAIN_DB:
            raise CheckFailed(
                f"At scale_factor {factor} the result is not nearer to a sharp image than repeated pixels.",
                expected=f"at least {repeated_db + _MIN_GAIN_DB:.1f} dB",
                actual=f"{result_db:.1f} dB",
                images=side_by_side(sample.image, result),
            )


@check("IMG-006")
def check_transparency(kit: Kit) -> None:
    """Check that alpha and content of transparent images, palettes and animations are kept, frame by frame."""
    for kind, sample in _transparent_samples():
        what = f"The result of a {kind} with transparency"
        for original, result in _frame_pairs(kit, sample, what):
            _expect_same_alpha(original, result, what)
            expect_same_image(original, result, what)


@check("IMG-007")
def check_opacity(kit: Kit) -> None:
    """Check that results of opaque images have no alpha below 247 of 255."""
    opaque = scene().copy()
    opaque.putalpha(255)
    for sample in (make_sample("png"), make_sample("webp"), make_sample("png", opaque, "opaque")):
        result = kit.images.completed(sample, {"scale_factor": 2}).result
        lowest = _levels(alpha_channel(result))[0]
        what = f"The lowest alpha in the result of an opaque {sample.format.upper()}"
        expect_at_least(lowest, 255 - _MAX_ALPHA_LOSS, what)


@check("IMG-008")
def check_gray(kit: Kit) -> None:
    """Check that the results of gray images have channels that differ by at most 16 of 255, and show the
    original.
    """
    gray = scene().convert("L")
    transparent = gray.copy()
    transparent.putalpha(alpha_mask())
    for kind, sample in (
        ("PNG", make_sample("png", gray, "gray")),
        ("JPEG", make_sample("jpeg", gray, "gray")),
        ("16-bit PNG", _sample_16_bit("gray", gray)),
        ("PNG with transparency", make_sample("png", transparent, "gray-alpha")),
    ):
        result = kit.images.completed(sample, {"scale_factor": 2}).result
        red, green, blue = flatten(result).split()
        tint = max(_levels(ImageChops.difference(red, other))[-1] for other in (green, blue))
        if tint > _MAX_TINT:
            raise CheckFailed(
                f"The result of a gray {kind} has a tint.",
                expected=f"channels that differ by at most {_MAX_TINT} of 255",
                actual=tint,
                images=side_by_side(sample.image, result),
            )
        expect_same_image(decode(sample.content), result, f"The result of a gray {kind}")


@check("IMG-009")
def check_palette(kit: Kit) -> None:
    """Check that the result of a palette PNG is a PNG that shows the original."""
    sample = make_sample("png", scene().quantize(64), "palette")
    _expect_format_and_content(kit, sample, "a PNG with a palette")


@check("IMG-010")
def check_16_bit(kit: Kit) -> None:
    """Check that the results of a gray and a colour 16-bit PNG are PNGs that show the original.

    Their depth is not checked.
    """
    for kind, image in (("gray", scene().convert("L")), ("colour", scene())):
        _expect_format_and_content(kit, _sample_16_bit(kind, image), f"a 16-bit {kind} PNG")


@check("IMG-011")
def check_cmyk(kit: Kit) -> None:
    """Check that the result of a CMYK JPEG is a JPEG, and nearer to the original than its negative is.

    Only the brightness is compared.
    """
    sample = make_sample("jpeg", scene().convert("CMYK"), "cmyk")
    done = _complete_in_format(kit, sample, "a CMYK JPEG")
    # The colours of CMYK on a screen depend on profiles, so only light and dark are compared.
    before = scene().convert("L")
    after = flatten(done.result).convert("L").resize(before.size, Image.Resampling.BOX)
    if psnr(before, after) <= psnr(before, ImageOps.invert(after)):
        images = side_by_side(sample.image, done.result)
        raise CheckFailed("The result of a CMYK JPEG is inverted.", images=images)


@check("IMG-012")
def check_orientation_of_jpeg(kit: Kit) -> None:
    """Check that a JPEG of each EXIF orientation has an upright result, without orientation, in size and
    content.
    """
    # Quarter turns, mirrored quarter turns, the half turn and the mirrored orientations.
    for number in (6, 8, 5, 7, 3, 4, 2):
        _expect_upright(kit, oriented(number), f"a JPEG of EXIF orientation {number}")


@check("IMG-013")
def check_animations(kit: Kit) -> None:
    """Check that GIF and WebP animations of different and of similar frames keep the number and content of
    their frames.
    """
    for name in ("gif", "webp"):
        _expect_all_frames(kit, animated(name, different_frames()))
        _expect_all_frames(kit, animated(name, _similar_frames(), "still"))


@check("IMG-014")
def check_animated_png(kit: Kit) -> None:
    """Check that animated PNGs of different and of similar frames keep the number and content of their
    frames.
    """
    _expect_all_frames(kit, animated("png", different_frames()))
    _expect_all_frames(kit, animated("png", _similar_frames(), "still"))


@check("IMG-015")
def check_tiff_pages(kit: Kit) -> None:
    """Check that a TIFF keeps the number and content of its pages, each scaled by the same factor."""
    first, second, third = different_frames()
    smaller = second.resize((40, 30), Image.Resampling.LANCZOS)
    _expect_all_frames(kit, animated("tiff", [first, smaller, third], "pages"))


@check("IMG-016")
def check_content_determines_format(kit: Kit) -> None:
    """Check that the content of a file determines its format, and not its name or its media type."""
    bmp = make_sample("bmp")
    renamed = Sample("photo.png", "bmp", bmp.content, bmp.image, declared="image/png")
    done = _complete_in_format(kit, renamed, "a BMP that was uploaded as photo.png")
    _expect_type_and_names(kit, done, "bmp")
    content = make_sample("jpeg").content
    unnamed = Sample("photo", "jpeg", content, scene(), declared="application/octet-stream")
    _complete_in_format(kit, unnamed, "a JPEG without extension and media type")


@check("IMG-021")
def check_odd_sizes(kit: Kit) -> None:
    """Check that one pixel, one line and odd sizes are scaled exactly."""
    for (width, height), name, factor in (
        ((1, 1), "png", 3),
        ((1, 37), "jpeg", 2),
        ((37, 1), "gif", 4),
        ((61, 43), "webp", 3),
    ):
        sample = make_sample(name, scene(width, height), f"odd-{width}x{height}")
        done = kit.images.completed(sample, {"scale_factor": factor})
        what = f"The size of the result of {width}x{height} pixels at scale_factor {factor}"
        expect_equal(done.result.size, (factor * width, factor * height), what)
        expect_equal(done.image["original_dimensions"], f"{width}x{height}", "`original_dimensions`")


@check("IMG-022")
def check_1_bit(kit: Kit) -> None:
    """Check that the results of a 1-bit PNG and a 1-bit TIFF have their format and show the original, not its
    negative.
    """
    fax = make_sample("tiff", bilevel(), "one-bit", tiffinfo={_PHOTOMETRIC: 0})  # 0 is white
    for sample in (make_sample("png", bilevel(), "one-bit"), fax):
        _expect_format_and_content(kit, sample, f"a 1-bit {sample.format.upper()}")


@check("IMG-023")
def check_orientation_of_png_and_webp(kit: Kit) -> None:
    """Check that the EXIF orientation of a PNG and a WebP is applied."""
    for name in ("png", "webp"):
        _expect_upright(kit, oriented(6, name), f"a {name.upper()} of EXIF orientation 6")


@check("IMG-025")
def check_colour_profile(kit: Kit) -> None:
    """Check that PNG and JPEG with an ICC profile that swaps channels look the same after the upscaling.

    Original and result are converted to sRGB first, so a result may have the profile or converted colours.
    """
    red, green, blue = scene().split()
    swapped = Image.merge("RGB", (blue, green, red))
    for name in ("png", "jpeg"):
        sample = make_sample(name, swapped, "profile", icc_profile=channel_swapping_profile())
        done = kit.images.completed(sample, {"scale_factor": 2})
        what = f"The result of a {name.upper()} with a colour profile"
        try:
            result = to_srgb(done.result)
        except ImageCms.PyCMSError as reason:
            raise CheckFailed(f"{what} has an invalid profile.", actual=str(reason)) from reason
        expect_same_image(to_srgb(decode(sample.content)), result, what)


def _complete_in_format(kit: Kit, sample: Sample, what: str) -> CompletedImage:
    """Upload the sample at factor 2, wait, and return it completed.

    Raise CheckFailed if its format is not kept.
    """
    done = kit.images.completed(sample, {"scale_factor": 2})
    expect_equal(detect_format(done.content), sample.format, f"The format of the result of {what}")
    return done


def _expect_format_and_content(kit: Kit, sample: Sample, what: str) -> None:
    """Raise CheckFailed unless the result at factor 2 has the format of the sample and shows its image."""
    done = _complete_in_format(kit, sample, what)
    expect_same_image(sample.image, done.result, f"The result of {what}")


def _expect_upright(kit: Kit, sample: Sample, kind: str) -> None:
    """Raise CheckFailed unless the result is upright in size and content and has no orientation."""
    done = kit.images.completed(sample, {"scale_factor": 2})
    what = f"The result of {kind}"
    width, height = sample.image.size
    expect_equal(done.result.size, (2 * width, 2 * height), f"{what}: its size")
    expect_in(exif_orientation(done.result), {0, 1}, f"{what}: its EXIF orientation")
    expect_same_image(sample.image, done.result, what)
    dimensions = done.image["original_dimensions"]
    expect_equal(dimensions, f"{width}x{height}", "`original_dimensions`, as displayed,")


def _similar_frames() -> list[Image.Image]:
    """Return three frames with a moving square, of which files store only the changed area."""
    # With 64 colours, a GIF encoder does not change the background.
    frames = [scene().quantize(64).convert("RGB") for _ in range(3)]
    for frame, left in zip(frames, (4, 26, 48), strict=True):
        frame.paste((250, 250, 250), (left, 18, left + 12, 30))
    return frames


def _sample_16_bit(kind: str, image: Image.Image) -> Sample:
    """Return the image as a sample that is a PNG of 16 bits."""
    return Sample(f"deep-{kind}.png", "png", png_16_bit(image), image)


def _transparent_samples() -> Iterator[tuple[str, Sample]]:
    """Yield transparent samples with their names."""
    soft = scene().copy()
    soft.putalpha(alpha_mask())
    for name in ("png", "webp", "tiff"):
        yield name.upper(), make_sample(name, soft, "alpha")
    gray = scene().convert("L")
    gray.putalpha(alpha_mask())
    yield "gray PNG", make_sample("png", gray, "gray-alpha")
    # Each colour of the palette has its own alpha (tRNS).
    indexed = soft.quantize(64, Image.Quantize.FASTOCTREE)
    yield "PNG with a palette", make_sample("png", indexed, "palette-alpha")
    frames = [soft, ImageOps.mirror(soft), ImageOps.flip(soft)]
    yield "animated WebP", animated("webp", frames, "moving-alpha")
    hard = scene().copy()
    hard.putalpha(alpha_mask().point(lambda level: 255 if level else 0))
    yield "GIF", make_sample("gif", hard, "alpha")


def _frame_pairs(kit: Kit, sample: Sample, what: str) -> list[tuple[Image.Image, Image.Image]]:
    """Upload the sample, wait, and return each frame of it with that of its result.

    Raise CheckFailed if their numbers differ.
    """
    done = kit.images.completed(sample, {"scale_factor": 2})
    before, after = all_frames(decode(sample.content)), readable_frames(done.content)
    expect_equal(len(after), len(before), f"{what}: the number of its frames")
    return list(zip(before, after, strict=True))


def _expect_same_alpha(original: Image.Image, result: Image.Image, what: str) -> None:
    """Raise CheckFailed unless the alpha of the result matches that of the original.

    The alpha of the result is averaged down to the original's size. Missing and additional transparency both
    count.
    """
    wanted, actual = alpha_channel(original), alpha_channel(result)
    similarity_db = psnr(wanted, actual.resize(wanted.size, Image.Resampling.BOX))
    if similarity_db < _MIN_ALPHA_DB:
        raise CheckFailed(
            f"{what} is not transparent where the original is.",
            expected=f"an alpha channel that matches the original to {_MIN_ALPHA_DB:.0f} dB",
            actual=f"{similarity_db:.1f} dB",
            images={"sent": encode(wanted, "png"), "result": encode(actual, "png")},
        )


def _expect_all_frames(kit: Kit, sample: Sample) -> None:
    """Raise CheckFailed unless the result has all frames, each with its size and content."""
    what = f"The result of a {sample.format.upper()} with several frames"
    for number, (original, result) in enumerate(_frame_pairs(kit, sample, what), 1):
        size = (2 * original.width, 2 * original.height)
        expect_equal(result.size, size, f"{what}: the size of frame {number}")
        expect_same_image(original, result, f"{what}: frame {number}")


def _expect_type_and_names(kit: Kit, done: CompletedImage, image_format: str) -> None:
    """Raise CheckFailed unless the media type and the file names of the download match the format."""
    kind = image_format.upper()
    types = {MEDIA_TYPES[image_format], *_UNREGISTERED_TYPES.get(image_format, set())}
    expect_in(done.download.media_type, types, f"The media type of a {kind} file")
    filename = kit.owner.get(f"/images/{done.image['id']}/download").expect(200).data["filename"]
    message = Message()
    message["content-disposition"] = done.download.headers.get("content-disposition", "")
    for where, name in (("`filename`", str(filename)), ("Content-Disposition", message.get_filename())):
        if name is not None:
            found = re.search(r"\.[^.]+$", name)
            expect_in(
                found.group().lower() if found else "",
                sorted(_EXTENSIONS[image_format]),
                f"The extension of a {kind} file in {where}",
            )


def _levels(channel: Image.Image) -> list[int]:
    """Return the levels that occur in the channel, in ascending order."""
    return [level for level, count in enumerate(channel.histogram()) if count]
