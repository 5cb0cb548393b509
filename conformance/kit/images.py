"""Uploads, results and deletions of single images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.images.samples import decode, make_sample
from conformance.kit.collection import Collection
from conformance.verdicts import CheckFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

    from conformance.client import Client, Response
    from conformance.images.samples import Sample
    from conformance.kit.cleanup import Cleanup
    from conformance.kit.once import Once

TERMINAL = frozenset({"completed", "failed"})


@dataclass(frozen=True)
class CompletedImage:
    """A completed image: the data of its 202, the data of ``GET /images/{id}``, and its result."""

    sample: Sample
    accepted: dict[str, Any]
    image: dict[str, Any]
    download: Response
    statuses: tuple[str, ...]  # in the order seen, without repetitions

    @property
    def content(self) -> bytes:
        return self.download.content

    @property
    def result(self) -> Image.Image:
        """Return the decoded result. Raise CheckFailed if it is not an image."""
        try:
            return decode(self.content)
        except Exception as reason:
            raise CheckFailed(
                "The downloaded result cannot be read as an image.", actual=self.content[:40].hex(" ")
            ) from reason


class Images(Collection):
    """The images of the account. All uploads are deleted at the end of the run."""

    path = "/images"
    terminal = TERMINAL

    def __init__(self, owner: Client, cleanup: Cleanup, tag: str, work_timeout: float, once: Once) -> None:
        super().__init__(owner, cleanup, tag, work_timeout)
        self._once = once

    @property
    def uploaded_ids(self) -> set[int]:
        """Return the ids of the images that the owner uploaded singly and did not delete."""
        return self._cleanup.ids(self.path, self._owner)

    def try_upload(
        self, sample: Sample, fields: Mapping[str, object] | None = None, *, client: Client | None = None
    ) -> Response:
        """Return the response to an upload, whatever its status."""
        form = {name: str(value) for name, value in (fields or {}).items()}
        client = client or self._owner
        return self.track(
            client.post("/images/upscale", files={"image": self._part(sample)}, data=form), client
        )

    def try_form(self, parts: list[tuple[str, Any]], *, client: Client | None = None) -> Response:
        """Return the response to an upload of any form; ``parts`` is what ``requests`` accepts as ``files``."""
        return self.track((client or self._owner).post("/images/upscale", files=parts), client)

    def track(self, response: Response, client: Client | None = None) -> Response:
        """Return the response to an upload; its image, if any, is deleted at the end."""
        return self._cleanup.track(self.path, response, client or self._owner)

    def upload(
        self, sample: Sample, fields: Mapping[str, object] | None = None, *, client: Client | None = None
    ) -> dict[str, Any]:
        """Return the data of the 202. Raise Inconclusive for a 403, and CheckFailed for any other status."""
        response = self.try_upload(sample, fields, client=client)
        return self._accepted(response, [sample], fields or {}, client or self._owner)

    def completed(self, sample: Sample, fields: Mapping[str, object] | None = None) -> CompletedImage:
        """Return the uploaded image with its result; upload the same sample and fields only once in a run.

        Raise CheckFailed if it does not end completed, and Inconclusive if it does not end in time.
        """
        key = (sample.filename, sample.content, tuple(sorted((fields or {}).items())))
        return self._once(key, lambda: self._complete(sample, fields))

    def completed_png(self) -> CompletedImage:
        """Return the usual sample as a PNG, completed with a scale factor of 2."""
        return self.completed(make_sample("png"), {"scale_factor": 2})

    def download(self, image_id: int) -> Response:
        """Return the response with the result's file, through ``GET /images/{id}/download``."""
        link = self._owner.get(f"{self.path}/{image_id}/download").expect(200).data["download_url"]
        return self._owner.transport.follow(link).expect(200, why="for a download link")

    def delete(self, image_id: int) -> Response:
        """Delete an image of the owner now and return the response."""
        self._cleanup.forget(self.path, image_id)
        return self._owner.delete(f"{self.path}/{image_id}")

    def _complete(self, sample: Sample, fields: Mapping[str, object] | None) -> CompletedImage:
        accepted = self.upload(sample, fields)
        image, statuses = self.wait(accepted["id"])
        if image.get("status") != "completed":
            raise CheckFailed(
                f"A valid image ({sample.format}) ends {image.get('status')!r}.",
                expected="completed",
                actual=image.get("error") or image.get("status"),
            )
        return CompletedImage(sample, accepted, image, self.download(image["id"]), statuses)
