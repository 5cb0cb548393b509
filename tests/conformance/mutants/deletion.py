"""Mutants of the DEL requirements: deletion of images."""

from __future__ import annotations

from typing import Any

from independent.envelope import ApiError
from independent.records import Account, Caller, Response, StoredImage, Success
from independent.server import Server
from mutants import mutant


class KeepsDeletedImages(Server):
    """A server that keeps deleted images in ``deleted``."""

    def __init__(self, **options: Any) -> None:
        self.deleted: dict[int, StoredImage] = {}
        super().__init__(**options)

    def remove_image(self, image: StoredImage) -> None:
        super().remove_image(image)
        self.deleted[image.id] = image


@mutant("image-deletion-has-no-effect", kills=["DEL-001"])
class ImageDeletionHasNoEffect(Server):
    def remove_image(self, image: StoredImage) -> None:
        pass


@mutant("deleted-image-still-downloadable", kills=["DEL-001"])
class DeletedImageStillDownloadable(KeepsDeletedImages):
    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        if number in self.deleted:
            image = self.deleted[number]
            return Success("", {"download_url": self.link(image), "filename": self.result_filename(image)})
        return super().show_download(request, caller, number)


@mutant("second-image-deletion-succeeds", kills=["DEL-002"])
class SecondImageDeletionSucceeds(KeepsDeletedImages):
    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        return (
            Success("Image deleted")
            if number in self.deleted
            else super().delete_image(request, caller, number)
        )


@mutant("image-list-includes-deleted-images", kills=["DEL-003"])
class ImageListIncludesDeletedImages(KeepsDeletedImages):
    def list_owned(self, records: dict[int, Any], account: Account) -> list[Any]:
        return super().list_owned({**self.deleted, **records} if records is self.images else records, account)


@mutant("result-link-survives-deletion", kills=["DEL-004"])
class ResultLinkSurvivesDeletion(KeepsDeletedImages):
    def fetch_result(self, request: Any, number: int) -> Response:
        if number in self.deleted:
            return self.file_response(self.deleted[number])
        return super().fetch_result(request, number)


@mutant("unfinished-image-cannot-be-deleted", kills=["DEL-005"])
class UnfinishedImageCannotBeDeleted(Server):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{"work_seconds": 0.2, **options})

    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        if self.find_owned(self.images, number, caller.account).status in {"pending", "processing"}:
            raise ApiError(400, "The image is being processed.")
        return super().delete_image(request, caller, number)


@mutant("worker-restores-deleted-image", kills=["DEL-006"])
class WorkerRestoresDeletedImage(Server):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{"work_seconds": 0.3, **options})

    def process(self, image: StoredImage) -> None:
        super().process(image)
        if image.status == "processing":
            self.complete_image(image, self.upscale_image(image), image.content)
            self.images[image.id] = image


@mutant("reuses-deleted-image-id", kills=["DEL-007"])
class ReusesDeletedImageId(Server):
    def new_id(self, kind: str) -> int:
        return max(self.images, default=0) + 1 if kind == "image" else super().new_id(kind)
