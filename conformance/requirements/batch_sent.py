"""What may be sent in a batch, and what is wrong with it: sizes, large files, several bad ones."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.images.samples import MAX_FILE_BYTES, Sample, make_sample, pad_jpeg, scene
from conformance.images.similarity import expect_same_image, readable_frames
from conformance.shared_batches import batch_images, named_batches, tiny_sample
from conformance.verdicts import Inconclusive, expect, expect_equal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.kit import Kit

    Sized = tuple[Sample, tuple[int, int]]  # and how large its result has to be

SIZES = ("scale_factor", "target_width", "target_height")
_LEAST_SIDE_TO_COMPARE = 48  # of less, networks make something of their own
_LARGE_FILES = 3  # more than the cap of a single upload lets through


@check("BATCH-016")
def targets_mean_in_a_batch_what_they_mean_alone(kit: Kit) -> None:
    # 51 × 96/64 = 76.5: half, upwards. 64 × 96/51 = 120.47: not always upwards.
    wide = make_sample("png", scene(64, 51), "wide")
    high = make_sample("png", scene(51, 64), "high")
    _sized(kit, [(wide, (96, 77)), (high, (96, 120))], {"target_width": 96})
    _sized(kit, [(make_sample("png", scene(24, 18)), (36, 27))], {"target_height": 27})
    nothing_chosen = named_batches(kit)["short"]
    _says_what_was_asked(kit, nothing_chosen, {"scale_factor": 2})
    _has_sizes(kit, nothing_chosen["id"], [(tiny_sample(), (24, 18))], "nothing chosen")
    both = kit.batches.try_create([tiny_sample()], {"scale_factor": 2, "target_width": 20})
    errors = both.expect(422, why="with a factor and a target").errors
    expect("scale_factor" in errors, "A factor beside a target is not named.", actual=sorted(errors))


@check("BATCH-019")
def files_of_ten_mebibytes_are_a_batch(kit: Kit) -> None:
    named_batches(kit)  # where batches are forbidden, it is said here
    small = make_sample("jpeg", scene(12, 9), "large")
    largest = small.with_content(pad_jpeg(small.content, MAX_FILE_BYTES))
    response = kit.batches.try_create([largest] * _LARGE_FILES).permitted()
    if response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise Inconclusive(
            f"A batch of {_LARGE_FILES} files of 10 MiB is answered with 413, perhaps by what stands in front of the "
            "server. Let it take as much as the server does."
        )
    accepted = response.expect(202, why="with files of 10 MiB").data
    for image in batch_images(accepted):
        expect_equal(image["original_size"], MAX_FILE_BYTES, "`original_size` of a file of 10 MiB in a batch")
    too_large = small.with_content(pad_jpeg(small.content, MAX_FILE_BYTES + 1))
    _names_only(kit, [tiny_sample(), too_large], {"images.1"}, "a file of 10 MiB and one byte")


@check("BATCH-021")
def all_bad_files_are_named(kit: Kit) -> None:
    named_batches(kit)
    good = tiny_sample()
    bad = good.with_content(b"This is no picture.")
    _names_only(kit, [good, bad, good, bad], {"images.1", "images.3"}, "two bad files")


def _sized(kit: Kit, sizes: list[Sized], fields: Mapping[str, int]) -> None:
    accepted = kit.batches.create([original for original, _ in sizes], fields)
    _says_what_was_asked(kit, accepted, fields)
    _has_sizes(kit, accepted["id"], sizes, f"{fields}")


def _says_what_was_asked(kit: Kit, accepted: dict[str, Any], fields: Mapping[str, int]) -> None:
    later = kit.batches.get(accepted["id"])
    for batch in (accepted, later):
        factor = fields.get("scale_factor")
        expect_equal(batch.get("scale_factor"), factor, f"`scale_factor` of a batch sent with {fields}")
        for image in batch_images(batch):
            for name in SIZES:
                expect_equal(
                    image.get(name),
                    fields.get(name),
                    f"`{name}` of an image of a batch sent with {fields}",
                )


def _has_sizes(kit: Kit, batch_id: int, sizes: list[Sized], asked: str) -> None:
    end, _ = kit.batches.wait(batch_id)
    expect_equal(len(batch_images(end)), len(sizes), "The number of images of a batch at its end")
    for image, (original, size) in zip(batch_images(end), sizes, strict=True):
        expect_equal(image["status"], "completed", "The status of a good picture of a batch at its end")
        result = readable_frames(kit.images.download(image["id"]).content)[0]
        what = f"the result of {original.image.width}x{original.image.height} pixels in a batch with {asked}"
        expect_equal(result.size, size, f"The size of {what}")
        if min(original.image.size) >= _LEAST_SIDE_TO_COMPARE:
            expect_same_image(original.image, result, what[:1].upper() + what[1:])


def _names_only(kit: Kit, pictures: list[Sample], wrong: set[str], what: str) -> None:
    errors = kit.batches.try_create(pictures).expect(422, why=f"with {what}").errors
    named = {name for name in errors if name.startswith("images.")}
    expect(
        named == wrong,
        f"The refusal of {what} names others than those.",
        expected=sorted(wrong),
        actual=sorted(errors),
    )
