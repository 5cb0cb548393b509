"""Servers that count, size, cancel or delete a batch otherwise than it says."""

from __future__ import annotations

from typing import Any

from independent import pictures
from independent.forms import Part
from independent.pictures import Film
from independent.records import Account, Response, Sizing, StoredBatch, StoredImage
from independent.server import LONGEST_TEXT, Caller, Errors, Refused, Server, Success
from mutants import mutant


class Unhurried(Server):
    """Slow enough to be seen at work."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"work_seconds": 0.12, **given})


@mutant("images-do-not-know-their-batch", kills=["BATCH-001"])
class ImagesDoNotKnowTheirBatch(Server):
    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        told = super().uploaded_data(image)
        told.pop("batch_id", None)
        return told


@mutant("images-of-a-batch-come-backwards", kills=["BATCH-001"])
class ImagesOfABatchComeBackwards(Server):
    def accepted_data(self, batch: StoredBatch) -> dict[str, Any]:
        told = super().accepted_data(batch)
        return told | {"images": told["images"][::-1]}


@mutant("a-batch-counts-one-too-few", kills=["BATCH-002"])
class BatchCountsOneTooFew(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        return super().batch_data(batch) | {"completed_images": max(0, batch.completed - 1)}


@mutant("progress-is-rounded-up", kills=["BATCH-003"])
class ProgressIsRoundedUp(Unhurried):
    def batch_progress(self, batch: StoredBatch) -> int:
        return -(-100 * (batch.completed + batch.failed) // batch.total)


@mutant("progress-is-a-fraction", kills=["BATCH-003"])
class ProgressIsAFraction(Server):
    def batch_progress(self, batch: StoredBatch) -> Any:
        return (batch.completed + batch.failed) / batch.total


@mutant("a-finished-batch-has-no-time", kills=["BATCH-004"])
class FinishedBatchHasNoTime(Server):
    def note_end(self, batch: StoredBatch) -> None:
        batch.updated_at = self.now()


@mutant("every-batch-fails-in-part", kills=["BATCH-004"])
class EveryBatchFailsInPart(Server):
    def batch_status(self, batch: StoredBatch) -> str:
        status = super().batch_status(batch)
        return "partially_failed" if status == "completed" else status


@mutant("only-the-first-of-a-batch-is-sized", kills=["BATCH-005"])
class OnlyTheFirstOfABatchIsSized(Server):
    def store_image(
        self, account: Account, part: Part, film: Film, sizing: Sizing, batch: StoredBatch | None = None
    ) -> StoredImage:
        image = super().store_image(account, part, film, sizing, batch)
        if batch and batch.images:
            image.wanted_size = self.result_size(film.size, Sizing(scale_factor=2))
        return image


@mutant("images-of-batches-are-not-listed", kills=["BATCH-006"])
class ImagesOfBatchesAreNotListed(Server):
    def listed(self, things: dict[int, Any], account: Account) -> list[Any]:
        return [thing for thing in super().listed(things, account) if not getattr(thing, "batch", None)]


@mutant("names-are-cut", kills=["BATCH-007"])
class NamesAreCut(Server):
    def batch_name(self, parts: list[Part], errors: Errors) -> str | None:
        name = super().batch_name(parts, errors)
        return name and name[:100]


@mutant("a-name-may-be-of-any-length", kills=["BATCH-007"])
class NameMayBeOfAnyLength(Server):
    def batch_name(self, parts: list[Part], errors: Errors) -> str | None:
        name = super().batch_name(parts, errors)
        if name and len(name) > LONGEST_TEXT:
            del errors["name"]
        return name


@mutant("a-batch-has-nineteen-at-most", kills=["BATCH-008"])
class BatchHasNineteenAtMost(Server):
    def most_files(self) -> int:
        return 19


@mutant("a-batch-has-any-number", kills=["BATCH-008"])
class BatchHasAnyNumber(Server):
    def most_files(self) -> int:
        return 1000


@mutant("the-good-half-of-a-batch-is-stored", kills=["BATCH-009"])
class GoodHalfOfABatchIsStored(Server):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        try:
            return super().upload_batch(request, caller, parts)
        except Refused:
            for part in parts:
                if pictures.format_of(part.content):
                    self.store_image(caller.account, part, self.decode(part.content), Sizing(scale_factor=2))
            raise


@mutant("a-refused-batch-costs-one", kills=["BATCH-009"])
class RefusedBatchCostsOne(Server):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        try:
            return super().upload_batch(request, caller, parts)
        except Refused:
            caller.account.used += 1
            raise


@mutant("bad-files-are-counted-from-one", kills=["BATCH-009"])
class BadFilesAreCountedFromOne(Server):
    def read_pictures(self, files: list[Part], errors: Errors) -> list[Film | None]:
        return [self.read_picture(part, f"images.{place}", errors) for place, part in enumerate(files, 1)]


@mutant("every-error-of-a-size-is-on-its-field", kills=["BATCH-010"])
class EveryErrorOfASizeIsOnItsField(Server):
    def batch_size_errors(self, films: list[Film | None], sizing: Sizing) -> Errors:
        found = [self.size_errors(film, sizing) for film in films if film]
        return next((errors for errors in found if errors), {})


@mutant("targets-of-batches-are-not-compared", kills=["BATCH-010"])
class TargetsOfBatchesAreNotCompared(Server):
    def batch_size_errors(self, films: list[Film | None], sizing: Sizing) -> Errors:
        return {}


@mutant("cancelling-removes-the-batch", kills=["BATCH-011"])
class CancellingRemovesTheBatch(Unhurried):
    def delete_batch(self, request: Any, caller: Caller, number: int) -> Success:
        self.forget_batch(self.owned(self.batches, number, caller.account))
        return Success("Batch cancelled successfully")


@mutant("a-cancelled-batch-is-failed", kills=["BATCH-011"])
class CancelledBatchIsFailed(Unhurried):
    def batch_status(self, batch: StoredBatch) -> str:
        status = super().batch_status(batch)
        return "failed" if status == "cancelled" else status


@mutant("work-goes-on-after-cancelling", kills=["BATCH-011"])
class WorkGoesOnAfterCancelling(Unhurried):
    def cancel(self, batch: StoredBatch) -> None:
        batch.cancelled = True
        self.note_end(batch)


@mutant("a-cancelled-batch-stays", kills=["BATCH-012"])
class CancelledBatchStays(Unhurried):
    def delete_batch(self, request: Any, caller: Caller, number: int) -> Success:
        if self.owned(self.batches, number, caller.account).cancelled:
            return Success("Batch cancelled successfully")
        return super().delete_batch(request, caller, number)


@mutant("counters-forget-deleted-images", kills=["BATCH-013"])
class CountersForgetDeletedImages(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        return super().batch_data(batch) | {"total_images": len(batch.images)}


@mutant("batches-show-deleted-images", kills=["BATCH-013"])
class BatchesShowDeletedImages(Server):
    def forget(self, image: StoredImage) -> None:
        self.images.pop(image.id, None)


@mutant("images-outlive-their-batch", kills=["BATCH-014"])
class ImagesOutliveTheirBatch(Server):
    def forget_batch(self, batch: StoredBatch) -> None:
        del self.batches[batch.id]


@mutant("a-deleted-batch-is-still-shown", kills=["BATCH-014"])
class DeletedBatchIsStillShown(Server):
    def forget_batch(self, batch: StoredBatch) -> None:
        for image in list(batch.images):
            self.forget(image)


@mutant("listed-batches-have-no-images", kills=["BATCH-015"])
class ListedBatchesHaveNoImages(Server):
    def list_batches(self, request: Any, caller: Caller) -> Success:
        found = super().list_batches(request, caller)
        found.data = [batch | {"images": []} for batch in found.data]
        return found


@mutant("targets-of-batches-are-not-looked-at", kills=["BATCH-016"])
class TargetsOfBatchesAreNotLookedAt(Server):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        kept = [part for part in parts if not part.name.startswith("target_")]
        return super().upload_batch(request, caller, kept)


@mutant("a-batch-has-the-proportions-of-its-first", kills=["BATCH-016"])
class BatchHasTheProportionsOfItsFirst(Server):
    def store_image(
        self, account: Account, part: Part, film: Film, sizing: Sizing, batch: StoredBatch | None = None
    ) -> StoredImage:
        image = super().store_image(account, part, film, sizing, batch)
        if batch and batch.images:
            image.wanted_size = batch.images[0].wanted_size
        return image


@mutant("a-batch-waits-for-what-was-deleted", kills=["BATCH-017"])
class BatchWaitsForWhatWasDeleted(Unhurried):
    def forget(self, image: StoredImage) -> None:
        del self.images[image.id]
        if image.batch:
            image.batch.images.remove(image)


@mutant("a-batch-is-one-smaller-for-what-was-deleted", kills=["BATCH-017"])
class BatchIsOneSmallerForWhatWasDeleted(Unhurried):
    def forget(self, image: StoredImage) -> None:
        del self.images[image.id]
        if image.batch:
            image.batch.images.remove(image)
            image.batch.total -= image.status in {"pending", "processing"}


@mutant("batches-tell-nothing-of-results", kills=["BATCH-018"])
class BatchesTellNothingOfResults(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        told = super().batch_data(batch)
        nothing = {"upscaled_size": None, "upscaled_dimensions": None, "processing_time": None}
        return told | {"images": [image | nothing for image in told["images"]]}


@mutant("links-in-batches-are-not-signed", kills=["BATCH-018"])
class LinksInBatchesAreNotSigned(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        told = super().batch_data(batch)
        for image in told["images"]:
            image["download_url"] = image["download_url"] and image["download_url"].partition("?")[0]
        return told


@mutant("the-files-of-a-batch-have-the-cap-of-one", kills=["BATCH-019"])
class FilesOfABatchHaveTheCapOfOne(Server):
    def read_pictures(self, files: list[Part], errors: Errors) -> list[Film | None]:
        if sum(len(part.content) for part in files) > self.largest_file():
            errors["images"] = ["The files are too large."]
            return []
        return super().read_pictures(files, errors)


@mutant("a-file-of-a-batch-may-be-of-any-size", kills=["BATCH-019"])
class FileOfABatchMayBeOfAnySize(Server):
    def read_pictures(self, files: list[Part], errors: Errors) -> list[Film | None]:
        return [self.decode(part.content) for part in files]


@mutant("cancelling-fails-what-was-completed", kills=["BATCH-020"])
class CancellingFailsWhatWasCompleted(Unhurried):
    def cancel(self, batch: StoredBatch) -> None:
        for image in batch.images:
            image.status = "processing"
        batch.completed = batch.failed = 0
        super().cancel(batch)


@mutant("cancelling-loses-the-files", kills=["BATCH-020"])
class CancellingLosesTheFiles(Unhurried):
    def fetch_result(self, request: Any, number: int) -> Response:
        image = self.images.get(number)
        if image and image.batch and image.batch.cancelled:
            raise self.not_found()
        return super().fetch_result(request, number)


@mutant("only-the-first-bad-file-is-named", kills=["BATCH-021"])
class OnlyTheFirstBadFileIsNamed(Server):
    def read_pictures(self, files: list[Part], errors: Errors) -> list[Film | None]:
        films: list[Film | None] = []
        for place, part in enumerate(files):
            films.append(self.read_picture(part, f"images.{place}", errors))
            if errors:
                break
        return films
