"""Is the result the picture that was sent, larger?"""

from __future__ import annotations

import re
from email.message import Message
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageCms, ImageOps

from conformance.catalogue import check
from conformance.images.icc_profile import channel_swapping_profile, to_srgb
from conformance.images.samples import (
    FORMATS,
    MAX_FILE_BYTES,
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
    huge_png,
    make_sample,
    oriented,
    pad_jpeg,
    png_16_bit,
    psnr,
    scene,
)
from conformance.images.similarity import expect_same_image, readable_frames, side_by_side
from conformance.verdicts import CheckFailed, expect, expect_equal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.client import Response
    from conformance.kit import Kit

_NAMES = {
    name: {f".{name}", *more}
    for name, more in zip(FORMATS, ((".jpg", ".jpe", ".jfif"), (), (), (".dib",), (".tif",), ()), strict=True)
}
# Names that are in use beside the registered ones.
_ALSO = {"bmp": {"image/x-ms-bmp", "image/x-bmp"}}
# Measured on the drawing, in dB nearer than repeated pixels: Hamming 1.0 and more, bilinear 1.3, bicubic 2.3,
# Lanczos 2.6, the networks of Real-ESRGAN 1.8 (x4plus-anime), 4.7 (x4plus) and 7.5; repeated pixels 0.0.
_LEAST_GAIN_DB = 0.3
# Measured: bilinear 27 dB, Real-ESRGAN's alpha 28.5; alpha that is all or nothing 18.4, an opaque result 5.
_LEAST_OPACITY_DB = 22.0
_PHOTOMETRIC = 262  # the tag of TIFF: what 0 means
_MOST_TINT = 16  # levels of 255 between the channels of what is gray; JPEG and palettes round
_MOST_MISSING = 8  # levels of 255 that opaque pixels may lack, for lossy encoders


@check("IMG-001")
def a_factor_multiplies_both_sides(kit: Kit) -> None:
    original = make_sample("png")
    for factor in (2, 3, 4):
        done = kit.images.completed(original, {"scale_factor": factor})
        width, height = (factor * side for side in original.image.size)
        expect_equal(done.result.size, (width, height), f"The size of the result of scale_factor {factor}")
        expect_equal(done.image["upscaled_dimensions"], f"{width}x{height}", "`upscaled_dimensions`")


@check("IMG-002")
def each_format_comes_back_as_itself(kit: Kit) -> None:
    for name in FORMATS:
        done = kit.images.completed(make_sample(name), {"scale_factor": 2})
        expect_equal(detect_format(done.content), name, f"The format of the result of a {name.upper()}")
        expect_equal(done.result.size, (128, 96), f"The size of the result of a {name.upper()}")


@check("IMG-003")
def content_media_type_and_name_agree(kit: Kit) -> None:
    for name in FORMATS:
        done = kit.images.completed(make_sample(name), {"scale_factor": 2})
        link = kit.owner.get(f"/images/{done.image['id']}/download").expect(200).data
        _expect_names(done.download, str(link["filename"]), detect_format(done.content) or name)


@check("IMG-004")
def the_result_shows_what_was_sent(kit: Kit) -> None:
    for name, factor in [*((name, 2) for name in FORMATS), ("png", 3), ("png", 4)]:
        original = make_sample(name)
        done = kit.images.completed(original, {"scale_factor": factor})
        what = f"The result of a {name.upper()} at scale_factor {factor}"
        expect_same_image(decode(original.content), done.result, what)


@check("IMG-005")
def edges_are_drawn_anew(kit: Kit) -> None:
    original = make_sample("png", drawing(), "drawing")
    for factor in (2, 4):
        result = flatten(kit.images.completed(original, {"scale_factor": factor}).result)
        ideal = drawing(factor)
        expect_equal(result.size, ideal.size, f"The size of the result of scale_factor {factor}")
        repeated = psnr(ideal, drawing().resize(ideal.size, Image.Resampling.NEAREST))
        gain = psnr(ideal, result) - repeated
        if gain < _LEAST_GAIN_DB:
            raise CheckFailed(
                f"At scale_factor {factor} the result is no nearer to a sharp picture of its size than repeated "
                "pixels are.",
                expected=f"at least {repeated + _LEAST_GAIN_DB:.1f} dB",
                actual=f"{repeated + gain:.1f} dB",
                images=side_by_side(original.image, result),
            )


@check("IMG-006")
def transparency_is_kept(kit: Kit) -> None:
    for kind, original in _transparent_pictures():
        done = kit.images.completed(original, {"scale_factor": 2})
        before, after = all_frames(decode(original.content)), readable_frames(done.content)
        what = f"The result of a {kind} with transparency"
        expect_equal(len(after), len(before), f"{what}: the number of its frames")
        for frame, larger in zip(before, after, strict=True):
            _expect_opacity(frame, larger, what)
            expect_same_image(frame, larger, what)


@check("IMG-007")
def what_is_opaque_stays_opaque(kit: Kit) -> None:
    full = scene().copy()
    full.putalpha(255)
    for original in (make_sample("png"), make_sample("webp"), make_sample("png", full, "opaque")):
        least = _levels(alpha_channel(kit.images.completed(original, {"scale_factor": 2}).result))[0]
        expect(
            least >= 255 - _MOST_MISSING,
            f"The result of an opaque {original.format.upper()} is transparent in places.",
            expected=255,
            actual=least,
        )


@check("IMG-008")
def gray_stays_gray(kit: Kit) -> None:
    soft = scene().convert("L")
    soft.putalpha(alpha_mask())
    for kind, original in (
        ("PNG", make_sample("png", scene().convert("L"), "gray")),
        ("JPEG", make_sample("jpeg", scene().convert("L"), "gray")),
        ("16-bit PNG", _deep("gray", scene().convert("L"))),
        ("PNG with transparency", make_sample("png", soft, "gray-alpha")),
    ):
        result = kit.images.completed(original, {"scale_factor": 2}).result
        red, green, blue = flatten(result).split()
        tint = max(_levels(ImageChops.difference(red, other))[-1] for other in (green, blue))
        if tint > _MOST_TINT:
            raise CheckFailed(
                f"The result of a gray {kind} has colours.",
                expected=f"channels that differ by {_MOST_TINT} of 255 at most",
                actual=tint,
                images=side_by_side(original.image, result),
            )
        expect_same_image(decode(original.content), result, f"The result of a gray {kind}")


@check("IMG-009")
def a_palette_is_taken(kit: Kit) -> None:
    original = make_sample("png", scene().quantize(64), "palette")
    done = kit.images.completed(original, {"scale_factor": 2})
    expect_equal(detect_format(done.content), "png", "The format of the result of a PNG with a palette")
    expect_same_image(original.image, done.result, "The result of a PNG with a palette")


@check("IMG-010")
def sixteen_bits_are_taken(kit: Kit) -> None:
    for kind, image in (("gray", scene().convert("L")), ("colour", scene())):
        done = kit.images.completed(_deep(kind, image), {"scale_factor": 2})
        expect_equal(detect_format(done.content), "png", f"The format of the result of a 16-bit {kind} PNG")
        expect_same_image(image, done.result, f"The result of a 16-bit {kind} PNG")


@check("IMG-011")
def printing_colours_are_taken(kit: Kit) -> None:
    original = make_sample("jpeg", scene().convert("CMYK"), "cmyk")
    done = kit.images.completed(original, {"scale_factor": 2})
    expect_equal(detect_format(done.content), "jpeg", "The format of the result of a CMYK JPEG")
    # What CMYK looks like on a screen is a matter of profiles: only light and dark are compared.
    before = scene().convert("L")
    after = flatten(done.result).convert("L").resize(before.size, Image.Resampling.BOX)
    alike, opposite = psnr(before, after), psnr(before, ImageOps.invert(after))
    if alike <= opposite:
        raise CheckFailed(
            "The result of a CMYK JPEG is its negative.", images=side_by_side(original.image, done.result)
        )


@check("IMG-012")
def a_noted_orientation_is_applied(kit: Kit) -> None:
    # Quarter turns, those that mirror, a half turn, the mirrors alone.
    for noted in (6, 8, 5, 7, 3, 4, 2):
        _expect_upright(kit, oriented(noted), f"a JPEG of EXIF orientation {noted}")


@check("IMG-013")
def an_animation_keeps_its_frames(kit: Kit) -> None:
    for name in ("gif", "webp"):
        _expect_all_frames(kit, animated(name, _three_frames()))
        _expect_all_frames(kit, animated(name, _little_changing(), "still"))


@check("IMG-014")
def an_animated_png_keeps_its_frames(kit: Kit) -> None:
    _expect_all_frames(kit, animated("png", _three_frames()))
    _expect_all_frames(kit, animated("png", _little_changing(), "still"))


@check("IMG-015")
def a_tiff_keeps_its_pages(kit: Kit) -> None:
    first, second, third = _three_frames()
    smaller = second.resize((40, 30), Image.Resampling.LANCZOS)
    _expect_all_frames(kit, animated("tiff", [first, smaller, third], "pages"))


@check("IMG-016")
def content_decides_what_a_file_is(kit: Kit) -> None:
    plain = make_sample("bmp")
    original = Sample("photo.png", "bmp", plain.content, plain.image, declared="image/png")
    done = kit.images.completed(original, {"scale_factor": 2})
    expect_equal(
        detect_format(done.content), "bmp", "The format of the result of a BMP that was sent as photo.png"
    )
    link = kit.owner.get(f"/images/{done.image['id']}/download").expect(200).data
    _expect_names(done.download, str(link["filename"]), "bmp")
    unnamed = Sample(
        "photo", "jpeg", make_sample("jpeg").content, scene(), declared="application/octet-stream"
    )
    expect_equal(
        detect_format(kit.images.completed(unnamed, {"scale_factor": 2}).content),
        "jpeg",
        "The format of the result of a JPEG without extension and media type",
    )


@check("IMG-017")
def what_is_no_picture_is_refused(kit: Kit) -> None:
    drawn = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><rect width="9" height="9"/></svg>'
    )
    for what, content in (
        ("text", b"This is no picture, whatever it is called."),
        ("an SVG", drawn),
        ("an empty file", b""),
        ("a PDF", b"%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\ntrailer <</Root 1 0 R>>\n%%EOF\n"),
        ("bytes by chance", bytes(kit.random.randrange(256) for _ in range(2000))),
    ):
        _expect_refused(kit, make_sample("png").with_content(content), what)


@check("IMG-018")
def what_is_damaged_is_refused(kit: Kit) -> None:
    for name in FORMATS:
        whole = make_sample(name)
        _expect_refused(
            kit, whole.with_content(whole.content[: len(whole.content) // 2]), f"half a {name.upper()}"
        )
        _expect_refused(
            kit, whole.with_content(whole.content[:16]), f"the first 16 bytes of a {name.upper()}"
        )
    for name in ("gif", "webp", "tiff"):
        whole = animated(name, _three_frames())
        kept = len(whole.content) * 85 // 100  # more than two frames, and not all of the third
        _expect_refused(
            kit,
            whole.with_content(whole.content[:kept]),
            f"a {name.upper()} that ends within its last picture",
        )
    content = make_sample("png").content
    middle = len(content) // 2
    broken = content[:middle] + b"\xff" * 200 + content[middle + 200 :]
    _expect_refused(
        kit, make_sample("png").with_content(broken), "a PNG whose data is overwritten in the middle"
    )


@check("IMG-019")
def a_file_that_is_too_large_is_refused(kit: Kit) -> None:
    original = make_sample("jpeg")
    _expect_refused(
        kit,
        original.with_content(pad_jpeg(original.content, MAX_FILE_BYTES + 1)),
        "a JPEG of 10 MiB and one byte",
    )


@check("IMG-020")
def ten_mebibytes_are_accepted(kit: Kit) -> None:
    original = make_sample("jpeg", stem="large")
    accepted = kit.images.upload(
        original.with_content(pad_jpeg(original.content, MAX_FILE_BYTES)), {"scale_factor": 2}
    )
    expect_equal(accepted["original_size"], MAX_FILE_BYTES, "`original_size`")
    image, _ = kit.images.wait(accepted["id"])
    expect_equal(image["status"], "completed", "The status of a JPEG of exactly 10 MiB in the end")


@check("IMG-021")
def odd_sizes_are_scaled_exactly(kit: Kit) -> None:
    for size, name, factor in (
        ((1, 1), "png", 3),
        ((1, 37), "jpeg", 2),
        ((37, 1), "gif", 4),
        ((61, 43), "webp", 3),
    ):
        original = make_sample(name, scene(*size), f"odd-{size[0]}x{size[1]}")
        done = kit.images.completed(original, {"scale_factor": factor})
        wanted = tuple(factor * side for side in size)
        what = f"The size of the result of {size[0]}x{size[1]} pixels at scale_factor {factor}"
        expect_equal(done.result.size, wanted, what)
        expect_equal(done.image["original_dimensions"], f"{size[0]}x{size[1]}", "`original_dimensions`")


@check("IMG-022")
def one_bit_is_taken(kit: Kit) -> None:
    # In a TIFF of a fax machine, 0 is white.
    fax = make_sample("tiff", bilevel(), "one-bit", tiffinfo={_PHOTOMETRIC: 0})
    for original in (make_sample("png", bilevel(), "one-bit"), fax):
        name = original.format
        done = kit.images.completed(original, {"scale_factor": 2})
        expect_equal(detect_format(done.content), name, f"The format of the result of a 1-bit {name.upper()}")
        expect_same_image(original.image, done.result, f"The result of a 1-bit {name.upper()}")


@check("IMG-023")
def an_orientation_is_applied_in_every_format(kit: Kit) -> None:
    for name in ("png", "webp"):
        _expect_upright(kit, oriented(6, name), f"a {name.upper()} of EXIF orientation 6")


@check("IMG-024")
def a_vast_picture_is_refused(kit: Kit) -> None:
    # Whatever the server takes in, twice as long a side is over the cap of a result.
    side = 20_000
    vast = Sample("vast.png", "png", huge_png(side), Image.new("1", (1, 1)))
    response = kit.images.try_upload(vast).permitted()
    errors = response.expect(422, why=f"with {side:,} x {side:,} pixels").errors
    expect(
        {"image", "scale_factor"} & set(errors),
        f"The refusal of {side:,} x {side:,} pixels does not name the field.",
        expected="image or scale_factor",
        actual=sorted(errors),
    )
    kit.owner.get("/user").expect(200, why="after a vast picture")


@check("IMG-025")
def colours_of_a_profile_are_kept(kit: Kit) -> None:
    red, green, blue = scene().split()
    swapped = Image.merge("RGB", (blue, green, red))
    for name in ("png", "jpeg"):
        original = make_sample(name, swapped, "profile", icc_profile=channel_swapping_profile())
        done = kit.images.completed(original, {"scale_factor": 2})
        what = f"The result of a {name.upper()} with a colour profile"
        try:
            result = to_srgb(done.result)
        except ImageCms.PyCMSError as reason:
            raise CheckFailed(f"{what} has a profile that cannot be read.", actual=str(reason)) from reason
        expect_same_image(to_srgb(decode(original.content)), result, what)


def _expect_upright(kit: Kit, original: Sample, what: str) -> None:
    done = kit.images.completed(original, {"scale_factor": 2})
    what = f"The result of {what}"
    width, height = original.image.size
    expect_equal(done.result.size, (2 * width, 2 * height), f"{what}: its size")
    expect(
        exif_orientation(done.result) in {0, 1},
        f"{what} still notes one: viewers turn it once more.",
        expected=1,
        actual=exif_orientation(done.result),
    )
    expect_same_image(original.image, done.result, what)
    expect_equal(
        done.image["original_dimensions"], f"{width}x{height}", "`original_dimensions`, as displayed,"
    )


def _three_frames() -> list[Image.Image]:
    """So different that no encoder takes two of them for one."""
    return [scene(), ImageOps.mirror(scene()), ImageOps.flip(scene())]


def _little_changing() -> list[Image.Image]:
    """Files hold of the frames after the first only what has changed: a square that moves on."""
    # So few colours that a GIF has no need to change what stands still.
    frames = [scene().quantize(64).convert("RGB") for _ in range(3)]
    for frame, left in zip(frames, (4, 26, 48), strict=True):
        frame.paste((250, 250, 250), (left, 18, left + 12, 30))
    return frames


def _deep(kind: str, image: Image.Image) -> Sample:
    """A PNG of 16 bits."""
    return Sample(f"deep-{kind}.png", "png", png_16_bit(image), image)


def _transparent_pictures() -> Iterator[tuple[str, Sample]]:
    """Each with what it is called."""
    soft = scene().copy()
    soft.putalpha(alpha_mask())
    for name in ("png", "webp", "tiff"):
        yield name.upper(), make_sample(name, soft, "alpha")
    gray = scene().convert("L")
    gray.putalpha(alpha_mask())
    yield "gray PNG", make_sample("png", gray, "gray-alpha")
    # Each colour of the palette has an opacity of its own (tRNS).
    indexed = soft.quantize(64, Image.Quantize.FASTOCTREE)
    yield "PNG with a palette", make_sample("png", indexed, "palette-alpha")
    yield "moving WebP", animated("webp", [soft, ImageOps.mirror(soft), ImageOps.flip(soft)], "moving-alpha")
    hard = scene().copy()
    hard.putalpha(alpha_mask().point(lambda level: 255 if level else 0))
    yield "GIF", make_sample("gif", hard, "alpha")


def _expect_opacity(original: Image.Image, result: Image.Image, what: str) -> None:
    """Raises Broken unless the result of ``what`` is transparent where the original is."""
    wanted, got = alpha_channel(original), alpha_channel(result)
    kept = psnr(wanted, got.resize(wanted.size, Image.Resampling.BOX))
    if kept < _LEAST_OPACITY_DB:
        raise CheckFailed(
            f"{what} is not transparent where the original is.",
            expected=f"an alpha channel {_LEAST_OPACITY_DB:.0f} dB near to the original's",
            actual=f"{kept:.1f} dB",
            images={"sent": encode(wanted, "png"), "result": encode(got, "png")},
        )


def _expect_all_frames(kit: Kit, original: Sample) -> None:
    done = kit.images.completed(original, {"scale_factor": 2})
    before, after = all_frames(decode(original.content)), readable_frames(done.content)
    kind = original.format.upper()
    expect_equal(
        len(after), len(before), f"The number of pictures in the result of a {kind} of {len(before)}"
    )
    for number, (frame, larger) in enumerate(zip(before, after, strict=True), 1):
        what = f"Picture {number} in the result of a {kind} of {len(before)}"
        expect_equal(larger.size, (2 * frame.width, 2 * frame.height), f"{what}: its size")
        expect_same_image(frame, larger, what)


def _expect_refused(kit: Kit, wrong: Sample, what: str) -> None:
    response = kit.images.try_upload(wrong).expect(422, why=f"with {what}")
    expect(
        "image" in response.errors,
        f"The refusal of {what} does not name the field `image`.",
        expected="image",
        actual=sorted(response.errors),
    )


def _expect_names(download: Response, filename: str, name: str) -> None:
    """Of a file whose content is of the format ``name``."""
    kind = name.upper()
    types = {MEDIA_TYPES[name], *_ALSO.get(name, set())}
    expect(
        download.media_type in types,
        f"A file that is a {kind} is served as {download.media_type or 'nothing'}.",
        expected=MEDIA_TYPES[name],
        actual=download.media_type,
    )
    for where, told in (("`filename`", filename), ("Content-Disposition", _disposition_name(download))):
        if told is None:
            continue
        expect(
            _extension(told) in _NAMES[name],
            f"{where} names a file that is a {kind} {told!r}.",
            expected=_one_of(_NAMES[name]),
            actual=_extension(told),
        )


def _disposition_name(download: Response) -> str | None:
    message = Message()
    message["content-disposition"] = download.headers.get("content-disposition", "")
    return message.get_filename()


def _extension(filename: str) -> str:
    found = re.search(r"\.[^.]+$", filename)
    return found.group().lower() if found else ""


def _one_of(names: Iterable[str]) -> str:
    return " or ".join(sorted(names))


def _levels(channel: Image.Image) -> list[int]:
    """Those that are in it, darkest first."""
    return [level for level, count in enumerate(channel.histogram()) if count]
