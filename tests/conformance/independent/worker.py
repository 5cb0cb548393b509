"""The worker that upscales the queued images one by one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PIL import Image

from independent import codec
from independent.progress import BatchProgress
from independent.sizing import SizingRules

if TYPE_CHECKING:
    from independent.codec import DecodedImage
    from independent.records import StoredImage


class Worker(SizingRules, BatchProgress):
    """The processing of an image, from pending to completed or failed."""

    def run_worker(self) -> None:
        """Process images until the queue has None."""
        while (image := self.work.get()) is not None:
            self.process(image)

    def process(self, image: StoredImage) -> None:
        """Upscale the image if it is still pending."""
        with self.lock:
            if image.id not in self.images or image.status != "pending":
                return
            self.start_image(image)
        self.stopped.wait(self.work_seconds)
        try:
            decoded = self.upscale_image(image)
            content = self.encode(decoded)
        except Exception:  # noqa: BLE001  # any failure fails this image only; the worker continues
            decoded, content = None, b""
        with self.lock:
            if image.id in self.images and image.status == "processing":
                if decoded:
                    self.complete_image(image, decoded, content)
                else:
                    self.fail_image(image)

    def start_image(self, image: StoredImage) -> None:
        """Set the image to processing."""
        image.started = time.monotonic()
        self.set_status(image, "processing")
        if image.batch:
            image.batch.has_started = True
            image.batch.updated_at = self.now()

    def complete_image(self, image: StoredImage, decoded: DecodedImage, content: bytes) -> None:
        """Store the result and set the image to completed."""
        image.result, image.result_size = content, decoded.size
        image.processing_time = int((time.monotonic() - image.started) * 100) / 100
        self.set_status(image, "completed")
        if image.batch:
            image.batch.completed += 1
            self.record_batch_change(image.batch)

    def fail_image(self, image: StoredImage) -> None:
        """Set the image to failed."""
        self.set_status(image, "failed")
        if image.batch:
            image.batch.failed += 1
            self.record_batch_change(image.batch)

    def set_status(self, image: StoredImage, status: str) -> None:
        """Set status and time of change."""
        image.status = status
        image.updated_at = max(self.now(), image.created_at)

    def upscale_image(self, image: StoredImage) -> DecodedImage:
        """Return the result of a stored image."""
        return self.upscale_frames(self.decode(image.content), image.target_size)

    def upscale_frames(self, decoded: DecodedImage, size: tuple[int, int]) -> DecodedImage:
        """Resize all frames to the size, or all pages by the ratio of the first one."""
        width, height = decoded.size
        decoded.frames = [
            self.resize_frame(
                frame,
                (self.scaled_side(frame.width, size[0], width), self.scaled_side(frame.height, size[1], height))
                if decoded.has_pages else size,
            )
            for frame in decoded.frames
        ]  # fmt: skip
        return decoded

    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Return the frame at the size."""
        return frame.resize(size, Image.Resampling.LANCZOS)

    def decode(self, content: bytes) -> DecodedImage:
        """Return all frames of a file. Raise ``codec.InvalidImage`` if it is not acceptable."""
        return codec.decode(content)

    def encode(self, decoded: DecodedImage) -> bytes:
        """Return the file of an image."""
        return codec.encode(decoded)
