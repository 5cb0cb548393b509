"""Servers that tell of an image what is not so."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from independent.server import Server, Success
from mutants import mutant

if TYPE_CHECKING:
    from independent.pictures import Film
    from independent.records import StoredImage
    from independent.server import Caller

_LONG_WORK_SECONDS = 0.3  # so that unfinished images are there to be looked at


class _Counting(Server):
    """Knows how often each image was asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: Counter[int] = Counter()


class _Working(Server):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "work_seconds": _LONG_WORK_SECONDS})


@mutant("the-answer-to-an-upload-lacks-its-size", kills=["JOB-001"])
class AnswerToAnUploadLacksItsSize(Server):
    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        return {
            name: value for name, value in super().uploaded_data(image).items() if name != "original_size"
        }


@mutant("an-upload-is-from-the-console", kills=["JOB-001", "JOB-005"])
class UploadIsFromTheConsole(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        return super().image_data(image) | {"api_request": False}


@mutant("an-upload-is-answered-as-completed", kills=["JOB-002"])
class UploadIsAnsweredAsCompleted(Server):
    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        return super().uploaded_data(image) | {"status": "completed"}


@mutant("the-status-goes-backwards", kills=["JOB-003"])
class StatusGoesBackwards(_Counting):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        success = super().show_image(request, caller, number)
        self.asked[number] += 1
        told = {1: "processing", 2: "pending"}.get(self.asked[number])
        return success if told is None else Success(success.message, success.data | {"status": told})


@mutant("completed-images-are-begun-again", kills=["JOB-004"])
class CompletedImagesAreBegunAgain(_Counting):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        success = super().show_image(request, caller, number)
        if success.data["status"] == "completed":
            self.asked[number] += 1
        if self.asked[number] > 1:
            success.data["status"] = "processing"
        return success


@mutant("completed-images-have-no-link", kills=["JOB-005"])
class CompletedImagesHaveNoLink(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        return super().image_data(image) | {"download_url": None}


@mutant("the-result-size-is-the-original-size", kills=["JOB-006"])
class ResultSizeIsTheOriginalSize(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        data = super().image_data(image)
        return data | {"upscaled_size": data["upscaled_size"] and data["original_size"]}


@mutant("dimensions-are-height-first", kills=["JOB-007"])
class DimensionsAreHeightFirst(Server):
    def dimensions(self, size: tuple[int, int], between: str = "x") -> str:
        return super().dimensions((size[1], size[0]), between)


@mutant("dimensions-for-people-have-no-blanks", kills=["JOB-007"])
class DimensionsForPeopleHaveNoBlanks(Server):
    def dimensions(self, size: tuple[int, int], between: str = "x") -> str:
        return super().dimensions(size, "x")


@mutant("sizes-for-people-go-in-thousands", kills=["JOB-008"])
class SizesForPeopleGoInThousands(Server):
    def human(self, size: int) -> str:
        return f"{size / 1000:.2f} KB"


@mutant("the-processing-time-is-in-microseconds", kills=["JOB-009"])
class ProcessingTimeIsInMicroseconds(Server):
    def complete(self, image: StoredImage, film: Film, content: bytes) -> None:
        super().complete(image, film, content)
        image.processing_time = (image.processing_time or 0) * 1e6


@mutant("unfinished-images-have-a-link", kills=["JOB-010"])
class UnfinishedImagesHaveALink(_Working):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        return super().image_data(image) | {"download_url": self.link(image)}


@mutant("unfinished-images-get-a-link", kills=["JOB-011"])
class UnfinishedImagesGetALink(_Working):
    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.owned(self.images, number, caller.account)
        data = {"download_url": self.link(image), "filename": self.result_name(image)}
        return Success("Download URL generated successfully", data)


@mutant("results-are-mixed-up", kills=["JOB-012"])
class ResultsAreMixedUp(Server):
    """Everybody gets the picture that was sent first."""

    def upscaled(self, image: StoredImage) -> Film:
        first = next(iter(self.images.values()))
        return self.upscale(self.decode(first.content), image.wanted_size)


@mutant("originals-are-stored-by-name", kills=["JOB-012"])
class OriginalsAreStoredByName(_Working):
    """The last one of a name is what is worked on."""

    def upscaled(self, image: StoredImage) -> Film:
        last = [other for other in self.images.values() if other.filename == image.filename][-1]
        return self.upscale(self.decode(last.content), image.wanted_size)
