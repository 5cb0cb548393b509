"""The operations on batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from independent.accounts import MAX_TEXT_LENGTH
from independent.records import StoredBatch, Success
from independent.uploads import Uploads

if TYPE_CHECKING:
    from independent.codec import DecodedImage
    from independent.envelope import Errors
    from independent.forms import Part
    from independent.records import Account, Caller, Sizing

BATCH_STATUSES = ("pending", "processing", "completed", "partially_failed", "failed", "cancelled")
MAX_BATCH_FILES = 20


class Batches(Uploads):
    """Batches: upload, list, show, cancel and delete."""

    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        """Store and queue all images, or none: raise ``ApiError`` with 422 for an invalid form, 403 without quota."""
        fields = {"images[]", "name", "scale_factor", "target_width", "target_height"}
        errors = self.form_errors(parts, fields, file_field="images[]")
        sizing = self.parse_sizing(parts, errors)
        name = self.batch_name(parts, errors)
        files = [part for part in parts if part.name == "images[]" and (part.filename or part.content)]
        images = self.read_images(files, errors) if "images" not in errors else []
        if images and not self.has_sizing_errors(errors):
            errors |= self.batch_size_errors(images, sizing)
        if errors:
            raise self.invalid(errors)
        self.charge_quota(caller.account, len(files))
        batch = self.store_batch(caller.account, name, sizing, files, [image for image in images if image])
        return Success("Batch created and images queued for processing", self.batch_upload_data(batch), 202)

    def batch_name(self, parts: list[Part], errors: Errors) -> str | None:
        """Return the name of the batch, and add its error to ``errors``."""
        part = next((part for part in parts if part.name == "name" and part.content), None)
        if part is None or "name" in errors:
            return None
        if len(part.text) > MAX_TEXT_LENGTH or "\0" in part.text:
            errors["name"] = ["The name may not be longer than 255 characters."]
        return part.text

    def read_images(self, files: list[Part], errors: Errors) -> list[DecodedImage | None]:
        """Return the decoded files, with None for each file that has an error in ``errors``."""
        if not 1 <= len(files) <= self.max_batch_files():
            errors["images"] = ["There must be between 1 and 20 images."]
            return []
        return [self.read_image(part, f"images.{index}", errors) for index, part in enumerate(files)]

    def max_batch_files(self) -> int:
        """Return the largest number of images in a batch."""
        return MAX_BATCH_FILES

    def batch_size_errors(self, images: list[DecodedImage | None], sizing: Sizing) -> Errors:
        """Return the size errors: by option if all images have one, otherwise by image."""
        found = {index: self.size_errors(image, sizing) for index, image in enumerate(images) if image}
        if found and all(found.values()):
            return next(iter(found.values()))
        return {
            f"images.{index}": [message for messages in errors.values() for message in messages]
            for index, errors in found.items()
            if errors
        }

    def store_batch(
        self,
        account: Account,
        name: str | None,
        sizing: Sizing,
        files: list[Part],
        images: list[DecodedImage],
    ) -> StoredBatch:
        """Store a batch, queue its images for the worker, and return it."""
        now = self.now()
        batch = StoredBatch(self.new_id("batch"), account, name, sizing, len(files), now, now)
        self.batches[batch.id] = batch
        for part, image in zip(files, images, strict=True):
            batch.images.append(self.store_image(account, part, image, sizing, batch))
        return batch

    def batch_upload_data(self, batch: StoredBatch) -> dict[str, Any]:
        """Return a batch as the response to its upload shows it."""
        return self.batch_data(batch) | {"images": [self.uploaded_data(image) for image in batch.images]}

    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        """Return a batch as the API shows it."""
        return {
            "id": batch.id,
            "name": batch.name,
            "status": self.batch_status(batch),
            "total_images": batch.total,
            "completed_images": batch.completed,
            "failed_images": batch.failed,
            "scale_factor": batch.sizing.scale_factor,
            "progress": self.batch_progress(batch),
            "images": [self.image_data(image) for image in batch.images],
            "created_at": self.time_text(batch.created_at),
            "updated_at": self.time_text(batch.updated_at),
            "completed_at": self.time_text(batch.completed_at),
        }

    def list_batches(self, request: Any, caller: Caller) -> Success:
        """List the caller's batches."""
        found = self.list_owned(self.batches, caller.account)
        return self.page(request, "/batches", found, BATCH_STATUSES, self.batch_data)

    def show_batch(self, request: Any, caller: Caller, number: int) -> Success:
        """Show one batch of the caller."""
        batch = self.find_owned(self.batches, number, caller.account)
        return Success("Batch retrieved successfully", self.batch_data(batch))

    def delete_batch(self, request: Any, caller: Caller, number: int) -> Success:
        """Cancel an unfinished batch of the caller, or delete a finished one."""
        batch = self.find_owned(self.batches, number, caller.account)
        if self.batch_status(batch) in {"pending", "processing"}:
            self.cancel_batch(batch)
            return Success("Batch cancelled successfully")
        self.remove_batch(batch)
        return Success("Batch deleted successfully")

    def cancel_batch(self, batch: StoredBatch) -> None:
        """Set the unfinished images to failed. Pending ones are refunded."""
        for image in batch.images:
            if image.status == "pending":
                self.refund_quota(image)
            if image.status in {"pending", "processing"}:
                self.set_status(image, "failed")
                batch.failed += 1
        batch.cancelled = True
        self.record_batch_change(batch)

    def remove_batch(self, batch: StoredBatch) -> None:
        """Remove the batch and its images."""
        for image in list(batch.images):
            self.remove_image(image)
        del self.batches[batch.id]
