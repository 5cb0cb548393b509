"""Mutants of the JOB requirements: status, links and sizes of an image."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from independent.records import Success
from independent.server import Server
from mutants import mutant

if TYPE_CHECKING:
    from independent.codec import DecodedImage
    from independent.records import Caller, StoredImage

_LONG_WORK_SECONDS = 0.3  # long enough to observe unfinished images


class _CountsReads(Server):
    """A server that counts how often each image is shown."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.reads: Counter[int] = Counter()


class _SlowWorker(Server):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "work_seconds": _LONG_WORK_SECONDS})


@mutant("upload-without-original-size", kills=["JOB-001"])
class UploadWithoutOriginalSize(Server):
    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        return {
            name: value for name, value in super().uploaded_data(image).items() if name != "original_size"
        }


@mutant("api-request-false", kills=["JOB-001", "JOB-005"])
class ApiRequestFalse(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        return super().image_data(image) | {"api_request": False}


@mutant("upload-returns-completed", kills=["JOB-002"])
class UploadReturnsCompleted(Server):
    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        return super().uploaded_data(image) | {"status": "completed"}


@mutant("status-goes-backwards", kills=["JOB-003"])
class StatusGoesBackwards(_CountsReads):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        success = super().show_image(request, caller, number)
        self.reads[number] += 1
        status = {1: "processing", 2: "pending"}.get(self.reads[number])
        return success if status is None else Success(success.message, success.data | {"status": status})


@mutant("completed-image-processes-again", kills=["JOB-004"])
class CompletedImageProcessesAgain(_CountsReads):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        success = super().show_image(request, caller, number)
        if success.data["status"] == "completed":
            self.reads[number] += 1
        if self.reads[number] > 1:
            success.data["status"] = "processing"
        return success


@mutant("completed-image-without-link", kills=["JOB-005"])
class CompletedImageWithoutLink(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        return super().image_data(image) | {"download_url": None}


@mutant("result-size-is-original-size", kills=["JOB-006"])
class ResultSizeIsOriginalSize(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        data = super().image_data(image)
        return data | {"upscaled_size": data["upscaled_size"] and data["original_size"]}


@mutant("dimensions-height-first", kills=["JOB-007"])
class DimensionsHeightFirst(Server):
    def format_dimensions(self, size: tuple[int, int], separator: str = "x") -> str:
        return super().format_dimensions((size[1], size[0]), separator)


@mutant("formatted-dimensions-without-spaces", kills=["JOB-007"])
class FormattedDimensionsWithoutSpaces(Server):
    def format_dimensions(self, size: tuple[int, int], separator: str = "x") -> str:
        return super().format_dimensions(size, "x")


@mutant("human-size-in-decimal-units", kills=["JOB-008"])
class HumanSizeInDecimalUnits(Server):
    def format_bytes(self, size: int) -> str:
        return f"{size / 1000:.2f} KB"


@mutant("processing-time-in-microseconds", kills=["JOB-009"])
class ProcessingTimeInMicroseconds(Server):
    def complete_image(self, image: StoredImage, decoded: DecodedImage, content: bytes) -> None:
        super().complete_image(image, decoded, content)
        image.processing_time = (image.processing_time or 0) * 1e6


@mutant("unfinished-image-shows-link", kills=["JOB-010"])
class UnfinishedImageShowsLink(_SlowWorker):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        return super().image_data(image) | {"download_url": self.link(image)}


@mutant("unfinished-image-download-succeeds", kills=["JOB-011"])
class UnfinishedImageDownloadSucceeds(_SlowWorker):
    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.find_owned(self.images, number, caller.account)
        data = {"download_url": self.link(image), "filename": self.result_filename(image)}
        return Success("Download URL generated successfully", data)


@mutant("result-of-first-image-for-all", kills=["JOB-012"])
class ResultOfFirstImageForAll(Server):
    """Every result is made from the first upload."""

    def upscale_image(self, image: StoredImage) -> DecodedImage:
        first = next(iter(self.images.values()))
        return self.upscale_frames(self.decode(first.content), image.target_size)


@mutant("same-filename-overwrites-original", kills=["JOB-012"])
class SameFilenameOverwritesOriginal(_SlowWorker):
    """Images with the same filename are all made from the last upload."""

    def upscale_image(self, image: StoredImage) -> DecodedImage:
        last = [other for other in self.images.values() if other.filename == image.filename][-1]
        return self.upscale_frames(self.decode(last.content), image.target_size)
