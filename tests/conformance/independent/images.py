"""The operations that list, show and delete images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from independent.downloads import Downloads
from independent.limits import Limits
from independent.lists import Lists
from independent.records import Success

if TYPE_CHECKING:
    from independent.records import Caller, Sizing, StoredImage

IMAGE_STATUSES = ("pending", "processing", "completed", "failed")
KIB = 1024


class Images(Lists, Downloads, Limits):
    """Images as the API shows them."""

    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        """Return an image as the response to its upload shows it."""
        data = self.image_data(image)
        wanted = (
            "id", "batch_id", "original_filename", "original_size", "original_size_human", "status",
            "scale_factor", "target_width", "target_height", "api_request", "created_at", "updated_at",
        )  # fmt: skip
        return {name: data[name] for name in wanted if name in data} | {"original_dimensions": None}

    def image_data(self, image: StoredImage) -> dict[str, Any]:
        """Return an image as the API shows it."""
        done = image.status == "completed"
        is_decoded = image.status != "pending"
        original, result = image.original_size, image.result_size
        data = {
            "id": image.id,
            "original_filename": image.filename,
            "original_path": f"in/{self.stored_name(image)}.{image.format}",
            "upscaled_path": f"out/{self.stored_name(image)}.{image.format}" if done else None,
            "original_size": len(image.content),
            "upscaled_size": len(image.result) if done else None,
            "original_size_human": self.format_bytes(len(image.content)),
            "upscaled_size_human": self.format_bytes(len(image.result)) if done else None,
            "original_dimensions": self.format_dimensions(original) if is_decoded else None,
            "upscaled_dimensions": self.format_dimensions(result) if done else None,
            "original_dimensions_formatted": self.format_dimensions(original, " x ") if is_decoded else None,
            "upscaled_dimensions_formatted": self.format_dimensions(result, " x ") if done else None,
            "status": image.status,
            **self.sizing_data(image.sizing),
            "processing_time": image.processing_time,
            "api_request": True,
            "download_url": self.link(image) if done else None,
            "created_at": self.time_text(image.created_at),
            "updated_at": self.time_text(image.updated_at),
        }
        return data | ({"batch_id": image.batch.id} if image.batch else {})

    def stored_name(self, image: StoredImage) -> str:
        """Return the random name that the paths of the image contain."""
        return image.stored_name

    def sizing_data(self, sizing: Sizing) -> dict[str, Any]:
        """Return the size options as the API shows them."""
        return {
            "scale_factor": sizing.scale_factor,
            "target_width": sizing.target_width,
            "target_height": sizing.target_height,
        }

    def format_bytes(self, size: int) -> str:
        """Return a size in bytes as text in a unit of 1024, such as ``1.5 KB``."""
        amount, units = float(size), ["B", "KB", "MB", "GB", "TB"]
        while amount >= KIB and len(units) > 1:
            amount, units = amount / KIB, units[1:]
        return f"{amount:.2f}".rstrip("0").rstrip(".") + f" {units[0]}"

    def format_dimensions(self, size: tuple[int, int], separator: str = "x") -> str:
        """Return width and height as text."""
        return f"{size[0]}{separator}{size[1]}"

    def list_images(self, request: Any, caller: Caller) -> Success:
        """List the caller's images."""
        found = self.list_owned(self.images, caller.account)
        return self.page(request, "/images", found, IMAGE_STATUSES, self.image_data)

    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        """Show one image of the caller."""
        image = self.find_owned(self.images, number, caller.account)
        return Success("Image retrieved successfully", self.image_data(image))

    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        """Delete one image of the caller. A pending image is refunded."""
        image = self.find_owned(self.images, number, caller.account)
        if image.status == "pending":
            self.refund_quota(image)
        self.remove_image(image)
        return Success("Image deleted successfully")

    def remove_image(self, image: StoredImage) -> None:
        """Remove the image. An unfinished one counts as failed in its batch."""
        del self.images[image.id]
        batch = image.batch
        if batch:
            batch.images.remove(image)
            if image.status in {"pending", "processing"} and not batch.cancelled:
                batch.failed += 1
            self.record_batch_change(batch)
