"""Mutants of the BATCH requirements: counters, sizes, cancellation and deletion of batches."""

from __future__ import annotations

from typing import Any

from independent import codec
from independent.accounts import MAX_TEXT_LENGTH
from independent.codec import DecodedImage
from independent.envelope import ApiError, Errors
from independent.forms import Part
from independent.records import Account, Caller, Response, Sizing, StoredBatch, StoredImage, Success
from independent.server import Server
from mutants import mutant


class SlowWorker(Server):
    """A server whose work takes long enough to observe unfinished images."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"work_seconds": 0.12, **options})


@mutant("batch-upload-images-without-batch-id", kills=["BATCH-001"])
class BatchUploadImagesWithoutBatchId(Server):
    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        data = super().uploaded_data(image)
        data.pop("batch_id", None)
        return data


@mutant("batch-upload-images-reversed", kills=["BATCH-001"])
class BatchUploadImagesReversed(Server):
    def batch_upload_data(self, batch: StoredBatch) -> dict[str, Any]:
        data = super().batch_upload_data(batch)
        return data | {"images": data["images"][::-1]}


@mutant("batch-completed-count-off-by-one", kills=["BATCH-002"])
class BatchCompletedCountOffByOne(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        return super().batch_data(batch) | {"completed_images": max(0, batch.completed - 1)}


@mutant("batch-progress-rounded-up", kills=["BATCH-003"])
class BatchProgressRoundedUp(SlowWorker):
    def batch_progress(self, batch: StoredBatch) -> int:
        return -(-100 * (batch.completed + batch.failed) // batch.total)


@mutant("batch-progress-as-fraction", kills=["BATCH-003"])
class BatchProgressAsFraction(Server):
    def batch_progress(self, batch: StoredBatch) -> Any:
        return (batch.completed + batch.failed) / batch.total


@mutant("finished-batch-without-completed-at", kills=["BATCH-004"])
class FinishedBatchWithoutCompletedAt(Server):
    def record_batch_change(self, batch: StoredBatch) -> None:
        batch.updated_at = self.now()


@mutant("completed-batch-partially-failed", kills=["BATCH-004"])
class CompletedBatchPartiallyFailed(Server):
    def batch_status(self, batch: StoredBatch) -> str:
        status = super().batch_status(batch)
        return "partially_failed" if status == "completed" else status


@mutant("batch-options-apply-to-first-image-only", kills=["BATCH-005"])
class BatchOptionsApplyToFirstImageOnly(Server):
    def store_image(
        self,
        account: Account,
        part: Part,
        decoded: DecodedImage,
        sizing: Sizing,
        batch: StoredBatch | None = None,
    ) -> StoredImage:
        image = super().store_image(account, part, decoded, sizing, batch)
        if batch and batch.images:
            image.target_size = self.result_size(decoded.size, Sizing(scale_factor=2))
        return image


@mutant("image-list-omits-batch-images", kills=["BATCH-006"])
class ImageListOmitsBatchImages(Server):
    def list_owned(self, records: dict[int, Any], account: Account) -> list[Any]:
        return [
            record for record in super().list_owned(records, account) if not getattr(record, "batch", None)
        ]


@mutant("batch-name-truncated", kills=["BATCH-007"])
class BatchNameTruncated(Server):
    def batch_name(self, parts: list[Part], errors: Errors) -> str | None:
        name = super().batch_name(parts, errors)
        return name and name[:100]


@mutant("batch-name-length-unlimited", kills=["BATCH-007"])
class BatchNameLengthUnlimited(Server):
    def batch_name(self, parts: list[Part], errors: Errors) -> str | None:
        name = super().batch_name(parts, errors)
        if name and len(name) > MAX_TEXT_LENGTH:
            del errors["name"]
        return name


@mutant("batch-rejects-20-images", kills=["BATCH-008"])
class BatchRejects20Images(Server):
    def max_batch_files(self) -> int:
        return 19


@mutant("batch-accepts-21-images", kills=["BATCH-008"])
class BatchAccepts21Images(Server):
    def max_batch_files(self) -> int:
        return 1000


@mutant("rejected-batch-stores-valid-images", kills=["BATCH-009"])
class RejectedBatchStoresValidImages(Server):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        try:
            return super().upload_batch(request, caller, parts)
        except ApiError:
            for part in parts:
                if codec.detect_format(part.content):
                    self.store_image(caller.account, part, self.decode(part.content), Sizing(scale_factor=2))
            raise


@mutant("rejected-batch-charges-quota", kills=["BATCH-009"])
class RejectedBatchChargesQuota(Server):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        try:
            return super().upload_batch(request, caller, parts)
        except ApiError:
            caller.account.used += 1
            raise


@mutant("batch-file-errors-indexed-from-one", kills=["BATCH-009"])
class BatchFileErrorsIndexedFromOne(Server):
    def read_images(self, files: list[Part], errors: Errors) -> list[DecodedImage | None]:
        return [self.read_image(part, f"images.{index}", errors) for index, part in enumerate(files, 1)]


@mutant("batch-size-errors-not-per-image", kills=["BATCH-010"])
class BatchSizeErrorsNotPerImage(Server):
    def batch_size_errors(self, images: list[DecodedImage | None], sizing: Sizing) -> Errors:
        found = [self.size_errors(decoded, sizing) for decoded in images if decoded]
        return next((errors for errors in found if errors), {})


@mutant("batch-size-checks-skipped", kills=["BATCH-010"])
class BatchSizeChecksSkipped(Server):
    def batch_size_errors(self, images: list[DecodedImage | None], sizing: Sizing) -> Errors:
        return {}


@mutant("cancel-deletes-batch", kills=["BATCH-011"])
class CancelDeletesBatch(SlowWorker):
    def delete_batch(self, request: Any, caller: Caller, number: int) -> Success:
        self.remove_batch(self.find_owned(self.batches, number, caller.account))
        return Success("Batch cancelled successfully")


@mutant("cancelled-batch-shows-failed", kills=["BATCH-011"])
class CancelledBatchShowsFailed(SlowWorker):
    def batch_status(self, batch: StoredBatch) -> str:
        status = super().batch_status(batch)
        return "failed" if status == "cancelled" else status


@mutant("cancel-keeps-processing", kills=["BATCH-011"])
class CancelKeepsProcessing(SlowWorker):
    def cancel_batch(self, batch: StoredBatch) -> None:
        batch.cancelled = True
        self.record_batch_change(batch)


@mutant("cancelled-batch-cannot-be-deleted", kills=["BATCH-012"])
class CancelledBatchCannotBeDeleted(SlowWorker):
    def delete_batch(self, request: Any, caller: Caller, number: int) -> Success:
        if self.find_owned(self.batches, number, caller.account).cancelled:
            return Success("Batch cancelled successfully")
        return super().delete_batch(request, caller, number)


@mutant("batch-total-excludes-deleted-images", kills=["BATCH-013"])
class BatchTotalExcludesDeletedImages(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        return super().batch_data(batch) | {"total_images": len(batch.images)}


@mutant("batch-shows-deleted-images", kills=["BATCH-013"])
class BatchShowsDeletedImages(Server):
    def remove_image(self, image: StoredImage) -> None:
        self.images.pop(image.id, None)


@mutant("batch-deletion-keeps-images", kills=["BATCH-014"])
class BatchDeletionKeepsImages(Server):
    def remove_batch(self, batch: StoredBatch) -> None:
        del self.batches[batch.id]


@mutant("deleted-batch-still-shown", kills=["BATCH-014"])
class DeletedBatchStillShown(Server):
    def remove_batch(self, batch: StoredBatch) -> None:
        for image in list(batch.images):
            self.remove_image(image)


@mutant("batch-list-without-images", kills=["BATCH-015"])
class BatchListWithoutImages(Server):
    def list_batches(self, request: Any, caller: Caller) -> Success:
        found = super().list_batches(request, caller)
        found.data = [batch | {"images": []} for batch in found.data]
        return found


@mutant("batch-ignores-targets", kills=["BATCH-016"])
class BatchIgnoresTargets(Server):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        kept = [part for part in parts if not part.name.startswith("target_")]
        return super().upload_batch(request, caller, kept)


@mutant("batch-results-sized-as-first-image", kills=["BATCH-016"])
class BatchResultsSizedAsFirstImage(Server):
    def store_image(
        self,
        account: Account,
        part: Part,
        decoded: DecodedImage,
        sizing: Sizing,
        batch: StoredBatch | None = None,
    ) -> StoredImage:
        image = super().store_image(account, part, decoded, sizing, batch)
        if batch and batch.images:
            image.target_size = batch.images[0].target_size
        return image


@mutant("batch-waits-for-deleted-image", kills=["BATCH-017"])
class BatchWaitsForDeletedImage(SlowWorker):
    def remove_image(self, image: StoredImage) -> None:
        del self.images[image.id]
        if image.batch:
            image.batch.images.remove(image)


@mutant("image-deletion-shrinks-batch", kills=["BATCH-017"])
class ImageDeletionShrinksBatch(SlowWorker):
    def remove_image(self, image: StoredImage) -> None:
        del self.images[image.id]
        if image.batch:
            image.batch.images.remove(image)
            image.batch.total -= image.status in {"pending", "processing"}


@mutant("batch-images-without-result-fields", kills=["BATCH-018"])
class BatchImagesWithoutResultFields(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        data = super().batch_data(batch)
        empty = {"upscaled_size": None, "upscaled_dimensions": None, "processing_time": None}
        return data | {"images": [image | empty for image in data["images"]]}


@mutant("batch-image-links-unsigned", kills=["BATCH-018"])
class BatchImageLinksUnsigned(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        data = super().batch_data(batch)
        for image in data["images"]:
            image["download_url"] = image["download_url"] and image["download_url"].partition("?")[0]
        return data


@mutant("batch-files-share-single-file-limit", kills=["BATCH-019"])
class BatchFilesShareSingleFileLimit(Server):
    def read_images(self, files: list[Part], errors: Errors) -> list[DecodedImage | None]:
        if sum(len(part.content) for part in files) > self.max_file_bytes():
            errors["images"] = ["The files are too large."]
            return []
        return super().read_images(files, errors)


@mutant("batch-file-size-unlimited", kills=["BATCH-019"])
class BatchFileSizeUnlimited(Server):
    def read_images(self, files: list[Part], errors: Errors) -> list[DecodedImage | None]:
        return [self.decode(part.content) for part in files]


@mutant("cancel-fails-completed-images", kills=["BATCH-020"])
class CancelFailsCompletedImages(SlowWorker):
    def cancel_batch(self, batch: StoredBatch) -> None:
        for image in batch.images:
            image.status = "processing"
        batch.completed = batch.failed = 0
        super().cancel_batch(batch)


@mutant("cancel-removes-completed-results", kills=["BATCH-020"])
class CancelRemovesCompletedResults(SlowWorker):
    def fetch_result(self, request: Any, number: int) -> Response:
        image = self.images.get(number)
        if image and image.batch and image.batch.cancelled:
            raise self.not_found()
        return super().fetch_result(request, number)


@mutant("batch-reports-first-invalid-file-only", kills=["BATCH-021"])
class BatchReportsFirstInvalidFileOnly(Server):
    def read_images(self, files: list[Part], errors: Errors) -> list[DecodedImage | None]:
        images: list[DecodedImage | None] = []
        for index, part in enumerate(files):
            images.append(self.read_image(part, f"images.{index}", errors))
            if errors:
                break
        return images
