"""Checks of what a new batch accepts and rejects, and of its size options."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.images.samples import MAX_FILE_BYTES, Sample, make_sample, pad_jpeg, scene
from conformance.images.similarity import expect_same_image, readable_frames
from conformance.listings import fetch_all
from conformance.shared_batches import (
    MAX_IMAGES,
    batch_images,
    cancelled_batch,
    named_batches,
    tiny_sample,
)
from conformance.verdicts import Inconclusive, expect, expect_absent, expect_empty, expect_equal, retry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.kit import Kit

    ExpectedSizes = list[tuple[Sample, tuple[int, int]]]  # each sample with the size of its result

_SIZE_OPTIONS = ("scale_factor", "target_width", "target_height")
_MIN_COMPARED_SIDE = 48  # pixels; the result of a smaller image may differ too much from its original
_LARGE_FILES = 3  # together larger than the body limit of a single upload


@check("BATCH-008")
def check_number_of_images(kit: Kit) -> None:
    """Check that a batch of 20 images is accepted, and that 21 images or none return 422 on ``images``."""
    largest = cancelled_batch(kit).accepted
    expect_equal(largest["total_images"], MAX_IMAGES, "`total_images` of a batch of twenty")
    expect_equal(len(batch_images(largest)), MAX_IMAGES, "The number of `images` of a batch of twenty")
    too_many = kit.batches.try_create([tiny_sample()] * (MAX_IMAGES + 1))
    too_many.expect_rejected("images", why="with 21 images")
    none = kit.owner.post("/batches", files={"name": (None, kit.tag)})
    none.expect_rejected("images", why="without an image")


@check("BATCH-009")
def check_one_invalid_file(kit: Kit) -> None:
    """Check that one invalid file returns 422 on ``images.1`` and not on ``images.0``.

    No image, batch or quota may come of it.
    """
    named_batches(kit)  # inconclusive if the plan has no batches
    name = f"{kit.tag}-rejected"
    valid = tiny_sample().renamed(f"{name}.png")
    invalid = Sample(f"{name}-bad.png", "png", b"This is not an image.", valid.image)

    def send() -> None:
        """Send a valid and an invalid file as a batch.

        Fail unless the error names ``images.1`` and not ``images.0``, and no quota is used.
        """
        used = _used(kit)
        response = kit.batches.try_create([valid, invalid], {"name": name})
        errors = response.expect_rejected("images.1", why="with an invalid file").errors
        expect_absent(sorted(errors), "images.0", "The list of rejected fields")
        expect_equal(_used(kit), used, "`used` of the quota after a rejected batch")

    retry(send)
    names = [image["original_filename"] for image in fetch_all(kit, "/images")]
    stored = [stored for stored in names if name in stored]
    expect_empty(stored, "Images of a rejected batch are in the list.", expected=[])
    batches = [batch["id"] for batch in fetch_all(kit, "/batches") if batch.get("name") == name]
    expect_empty(batches, "A rejected batch is in the list.", expected=[])


@check("BATCH-010")
def check_unsuitable_target(kit: Kit) -> None:
    """Check that a target that is too small is reported on the file, or on the target if no file is suitable."""
    named_batches(kit)
    samples = [make_sample("png", scene(12, 9)), make_sample("png", scene(24, 18))]
    for width, field, why in (
        (20, "images.1", "with a target for which only the second image is too large"),
        (10, "target_width", "with a target for which both images are too large"),
    ):
        kit.batches.try_create(samples, {"target_width": width}).expect_rejected(field, why=why)


@check("BATCH-016")
def check_size_options(kit: Kit) -> None:
    """Check that targets, the default factor and both options together have the same effect as for a single
    image.
    """
    # 51 × 96/64 = 76.5 is rounded up. 64 × 96/51 = 120.47 is rounded down.
    wide = make_sample("png", scene(64, 51), "wide")
    high = make_sample("png", scene(51, 64), "high")
    _expect_batch_sizes(kit, [(wide, (96, 77)), (high, (96, 120))], {"target_width": 96})
    _expect_batch_sizes(kit, [(make_sample("png", scene(24, 18)), (36, 27))], {"target_height": 27})
    without_options = named_batches(kit)["short"]
    _expect_options(kit, without_options, {"scale_factor": 2})
    _expect_sizes(kit, without_options["id"], [(tiny_sample(), (24, 18))], "no option")
    both = kit.batches.try_create([tiny_sample()], {"scale_factor": 2, "target_width": 20})
    both.expect_rejected("scale_factor", why="with a factor and a target")


@check("BATCH-019")
def check_large_files(kit: Kit) -> None:
    """Check that three files of 10 MiB are accepted, and that one byte more returns 422 on this file only.

    Raise Inconclusive for a 413, which a proxy may send.
    """
    named_batches(kit)
    sample = make_sample("jpeg", scene(12, 9), "large")
    largest = sample.with_content(pad_jpeg(sample.content, MAX_FILE_BYTES))
    response = kit.batches.try_create([largest] * _LARGE_FILES).permitted()
    if response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise Inconclusive(
            f"A batch of {_LARGE_FILES} files of 10 MiB gets a 413, perhaps from a proxy in front of the server. Set the "
            "body limit of the proxy to that of the server."
        )
    accepted = response.expect(202, why="with files of 10 MiB").data
    for image in batch_images(accepted):
        expect_equal(image["original_size"], MAX_FILE_BYTES, "`original_size` of a file of 10 MiB in a batch")
    too_large = sample.with_content(pad_jpeg(sample.content, MAX_FILE_BYTES + 1))
    _expect_files_rejected(
        kit, [tiny_sample(), too_large], {"images.1"}, "with a file of 10 MiB and one byte"
    )


@check("BATCH-021")
def check_all_invalid_files_are_named(kit: Kit) -> None:
    """Check that two invalid files are reported together, and no valid file."""
    named_batches(kit)
    valid = tiny_sample()
    invalid = valid.with_content(b"This is not an image.")
    fields = {"images.1", "images.3"}
    _expect_files_rejected(kit, [valid, invalid, valid, invalid], fields, "with two invalid files")


def _expect_batch_sizes(kit: Kit, sizes: ExpectedSizes, options: Mapping[str, int]) -> None:
    """Create a batch and raise CheckFailed unless it has these options and results of these sizes."""
    accepted = kit.batches.create([sample for sample, _ in sizes], options)
    _expect_options(kit, accepted, options)
    _expect_sizes(kit, accepted["id"], sizes, f"{options}")


def _expect_options(kit: Kit, accepted: dict[str, Any], options: Mapping[str, int]) -> None:
    """Raise CheckFailed unless the 202, the batch and their images have exactly these options."""
    for batch in (accepted, kit.batches.get(accepted["id"])):
        factor = options.get("scale_factor")
        expect_equal(batch.get("scale_factor"), factor, f"`scale_factor` of a batch with {options}")
        for image in batch_images(batch):
            for name in _SIZE_OPTIONS:
                what = f"`{name}` of an image of a batch with {options}"
                expect_equal(image.get(name), options.get(name), what)


def _expect_sizes(kit: Kit, batch_id: int, sizes: ExpectedSizes, options: str) -> None:
    """Wait for the batch; fail unless each result has its expected size.

    Results of images with sides of at least ``_MIN_COMPARED_SIDE`` pixels are compared with their originals,
    too.
    """
    end, _ = kit.batches.wait(batch_id)
    expect_equal(len(batch_images(end)), len(sizes), "The number of images of a finished batch")
    for image, (sample, size) in zip(batch_images(end), sizes, strict=True):
        expect_equal(image["status"], "completed", "The final status of a valid image of a batch")
        result = readable_frames(kit.images.download(image["id"]).content)[0]
        what = f"result of {sample.image.width}x{sample.image.height} pixels in a batch with {options}"
        expect_equal(result.size, size, f"The size of the {what}")
        if min(sample.image.size) >= _MIN_COMPARED_SIDE:
            expect_same_image(sample.image, result, f"The {what}")


def _expect_files_rejected(kit: Kit, samples: list[Sample], fields: set[str], why: str) -> None:
    """Raise CheckFailed unless the batch is rejected with errors on exactly these files."""
    errors = kit.batches.try_create(samples).expect(422, why=why).errors
    named = {name for name in errors if name.startswith("images.")}
    expect(
        named == fields,
        f"The 422 to a batch {why} does not name exactly the invalid files.",
        expected=sorted(fields),
        actual=sorted(errors),
    )


def _used(kit: Kit) -> object:
    """Return the images used this month, from GET /usage."""
    return kit.owner.get("/usage").expect(200).data["image_uploads"]["used"]
