"""Checks of which files an upload accepts and rejects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from conformance.catalogue import check
from conformance.images.samples import (
    FORMATS,
    MAX_FILE_BYTES,
    Sample,
    animated,
    huge_png,
    make_sample,
    pad_jpeg,
)
from conformance.requirements.img import different_frames
from conformance.requirements.rejections import expect_rejected_for_any
from conformance.verdicts import expect_equal

if TYPE_CHECKING:
    from conformance.kit import Kit


@check("IMG-017")
def check_other_files_are_rejected(kit: Kit) -> None:
    """Check that a text, an SVG, an empty file, a PDF and random bytes, named as PNG, return 422 on
    ``image``.
    """
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><rect width="9" height="9"/></svg>'
    for what, content in (
        ("a text", b"This is not an image, whatever its name."),
        ("an SVG", svg),
        ("an empty file", b""),
        ("a PDF", b"%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\ntrailer <</Root 1 0 R>>\n%%EOF\n"),
        ("random bytes", bytes(kit.random.randrange(256) for _ in range(2000))),
    ):
        _expect_file_rejected(kit, make_sample("png"), content, what)


@check("IMG-018")
def check_damaged_files_are_rejected(kit: Kit) -> None:
    """Check that truncated files of each format, animations that end within a frame, and a damaged PNG return
    422 on ``image``.
    """
    for name in FORMATS:
        sample, kind = make_sample(name), name.upper()
        half = sample.content[: len(sample.content) // 2]
        _expect_file_rejected(kit, sample, half, f"half a {kind}")
        _expect_file_rejected(kit, sample, sample.content[:16], f"the first 16 bytes of a {kind}")
    for name in ("gif", "webp", "tiff"):
        sample = animated(name, different_frames())
        kept = len(sample.content) * 85 // 100  # more than two frames, and less than three
        what = f"a {name.upper()} that ends within its last frame"
        _expect_file_rejected(kit, sample, sample.content[:kept], what)
    content = make_sample("png").content
    middle = len(content) // 2
    damaged = content[:middle] + b"\xff" * 200 + content[middle + 200 :]
    _expect_file_rejected(kit, make_sample("png"), damaged, "a PNG with overwritten data")


@check("IMG-019")
def check_file_over_limit(kit: Kit) -> None:
    """Check that a file of one byte over 10 MiB is rejected."""
    sample = make_sample("jpeg")
    content = pad_jpeg(sample.content, MAX_FILE_BYTES + 1)
    _expect_file_rejected(kit, sample, content, "a JPEG of 10 MiB and one byte")


@check("IMG-020")
def check_file_at_limit(kit: Kit) -> None:
    """Check that a JPEG of exactly 10 MiB is accepted, has this ``original_size`` and is completed."""
    sample = make_sample("jpeg", stem="large")
    largest = sample.with_content(pad_jpeg(sample.content, MAX_FILE_BYTES))
    accepted = kit.images.upload(largest, {"scale_factor": 2})
    expect_equal(accepted["original_size"], MAX_FILE_BYTES, "`original_size`")
    image, _ = kit.images.wait(accepted["id"])
    expect_equal(image["status"], "completed", "The final status of a JPEG of exactly 10 MiB")


@check("IMG-024")
def check_huge_image_is_rejected(kit: Kit) -> None:
    """Check that a small file with a very large image is rejected, and that the server still responds."""
    # A server may accept uploads of this size, but the result at the default factor exceeds the limit.
    side = 20_000
    sample = Sample("vast.png", "png", huge_png(side), Image.new("1", (1, 1)))
    response = kit.images.try_upload(sample).permitted()
    expect_rejected_for_any(response, "image", "scale_factor", why=f"with {side:,} x {side:,} pixels")
    kit.owner.get("/user").expect(200, why="after a very large image")


def _expect_file_rejected(kit: Kit, sample: Sample, content: bytes, what: str) -> None:
    """Raise CheckFailed unless the sample with this content is rejected with an error on `image`."""
    response = kit.images.try_upload(sample.with_content(content))
    response.expect_rejected("image", why=f"with {what}")
