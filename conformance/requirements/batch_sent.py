"""What may be sent in a batch, and what is wrong with it: sizes, large files, several bad ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.batches import images_of, labelled, tiny
from conformance.catalogue import check
from conformance.images.samples import MOST_BYTES, Picture, padded, picture, scene
from conformance.images.similarity import expect_same_picture, readable_frames
from conformance.verdicts import Inconclusive, expect, expect_equal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.kit import Kit

    Sized = tuple[Picture, tuple[int, int]]  # and how large its result has to be

TOO_LARGE = 413
SIZES = ("scale_factor", "target_width", "target_height")
_LEAST_SIDE_TO_COMPARE = 48  # of less, networks make something of their own
_LARGE_FILES = 3  # more than the cap of a single upload lets through


@check("BATCH-016")
def targets_mean_in_a_batch_what_they_mean_alone(kit: Kit) -> None:
    # 51 × 96/64 = 76.5: half, upwards. 64 × 96/51 = 120.47: not always upwards.
    wide = picture("png", scene(64, 51), "wide")
    high = picture("png", scene(51, 64), "high")
    _sized(kit, [(wide, (96, 77)), (high, (96, 120))], {"target_width": 96})
    _sized(kit, [(picture("png", scene(24, 18)), (36, 27))], {"target_height": 27})
    nothing_chosen = labelled(kit)["short"]
    _says_what_was_asked(kit, nothing_chosen, {"scale_factor": 2})
    _has_sizes(kit, nothing_chosen["id"], [(tiny(), (24, 18))], "nothing chosen")
    both = kit.try_batch([tiny()], {"scale_factor": 2, "target_width": 20})
    errors = both.expect(422, why="with a factor and a target").errors
    expect("scale_factor" in errors, "A factor beside a target is not named.", actual=sorted(errors))


@check("BATCH-019")
def files_of_ten_mebibytes_are_a_batch(kit: Kit) -> None:
    labelled(kit)  # where batches are forbidden, it is said here
    small = picture("jpeg", scene(12, 9), "large")
    largest = small.holding(padded(small.content, MOST_BYTES))
    answer = kit.allowed(kit.try_batch([largest] * _LARGE_FILES))
    if answer.status == TOO_LARGE:
        raise Inconclusive(
            f"A batch of {_LARGE_FILES} files of 10 MiB is answered with 413, perhaps by what stands in front of the "
            "server. Let it take as much as the server does."
        )
    accepted = answer.expect(202, why="with files of 10 MiB").data
    for image in images_of(accepted):
        expect_equal(image["original_size"], MOST_BYTES, "`original_size` of a file of 10 MiB in a batch")
    too_large = small.holding(padded(small.content, MOST_BYTES + 1))
    _names_only(kit, [tiny(), too_large], {"images.1"}, "a file of 10 MiB and one byte")


@check("BATCH-021")
def all_bad_files_are_named(kit: Kit) -> None:
    labelled(kit)
    good = tiny()
    bad = good.holding(b"This is no picture.")
    _names_only(kit, [good, bad, good, bad], {"images.1", "images.3"}, "two bad files")


def _sized(kit: Kit, sizes: list[Sized], fields: Mapping[str, int]) -> None:
    accepted = kit.batch([original for original, _ in sizes], fields)
    _says_what_was_asked(kit, accepted, fields)
    _has_sizes(kit, accepted["id"], sizes, f"{fields}")


def _says_what_was_asked(kit: Kit, accepted: dict[str, Any], fields: Mapping[str, int]) -> None:
    later = kit.owner.get(f"/batches/{accepted['id']}").expect(200).data
    for batch in (accepted, later):
        factor = fields.get("scale_factor")
        expect_equal(batch.get("scale_factor"), factor, f"`scale_factor` of a batch sent with {fields}")
        for image in images_of(batch):
            for name in SIZES:
                expect_equal(
                    image.get(name),
                    fields.get(name),
                    f"`{name}` of an image of a batch sent with {fields}",
                )


def _has_sizes(kit: Kit, batch_id: int, sizes: list[Sized], asked: str) -> None:
    end, _ = kit.wait_for_batch(batch_id)
    expect_equal(len(images_of(end)), len(sizes), "The number of images of a batch at its end")
    for image, (original, size) in zip(images_of(end), sizes, strict=True):
        expect_equal(image["status"], "completed", "The status of a good picture of a batch at its end")
        result = readable_frames(kit.file_of(image["id"]).content)[0]
        what = f"the result of {original.image.width}x{original.image.height} pixels in a batch with {asked}"
        expect_equal(result.size, size, f"The size of {what}")
        if min(original.image.size) >= _LEAST_SIDE_TO_COMPARE:
            expect_same_picture(original.image, result, what[:1].upper() + what[1:])


def _names_only(kit: Kit, pictures: list[Picture], wrong: set[str], what: str) -> None:
    errors = kit.try_batch(pictures).expect(422, why=f"with {what}").errors
    named = {name for name in errors if name.startswith("images.")}
    expect(
        named == wrong,
        f"The refusal of {what} names others than those.",
        expected=sorted(wrong),
        actual=sorted(errors),
    )
