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
        """Return the decoded result; decode it on each use. Raise CheckFailed if it is not an image."""
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
        """Return the ids of the single uploads with the owner's token that the run has not deleted."""
        return self._cleanup.ids(self.path, self._owner)

    def try_upload(
        self, sample: Sample, fields: Mapping[str, object] | None = None, *, client: Client | None = None
    ) -> Response:
        """Upload a sample and return the response, whatever its status; the image is deleted at the end.

        Send ``fields`` as text, None included. ``client`` is by default the owner. Raise Inconclusive without
        a response.
        """
        form = {name: str(value) for name, value in (fields or {}).items()}
        client = client or self._owner
        return self.track(
            client.post("/images/upscale", files={"image": self._part(sample)}, data=form), client
        )

    def try_form(self, parts: list[tuple[str, Any]], *, client: Client | None = None) -> Response:
        """Upload any form and return the response, whatever its status; the image is deleted at the end.

        ``parts`` is what ``requests`` accepts as ``files``. ``client`` is by default the owner.
        """
        return self.track((client or self._owner).post("/images/upscale", files=parts), client)

    def track(self, response: Response, client: Client | None = None) -> Response:
        """Return the response to an upload; its image, if any, is deleted at the end."""
        return self._cleanup.track(self.path, response, client or self._owner)

    def upload(
        self, sample: Sample, fields: Mapping[str, object] | None = None, *, client: Client | None = None
    ) -> dict[str, Any]:
        """Upload a sample and return the data of the 202; the image is deleted at the end.

        Raise Inconclusive for a 403, and for a 422 if the factor exceeds the plan; CheckFailed for any other
        status.
        """
        response = self.try_upload(sample, fields, client=client)
        return self._accepted(response, [sample], fields or {}, client or self._owner)

    def completed(self, sample: Sample, fields: Mapping[str, object] | None = None) -> CompletedImage:
        """Return the uploaded image with its result; upload the same sample and fields only once in a run.

        Raise CheckFailed if it does not end completed or its result has no download, and Inconclusive if it
        does not end in time or the account may not upload it.
        """
        key = (sample.filename, sample.content, tuple(sorted((fields or {}).items())))
        return self._once(key, lambda: self._complete(sample, fields))

    def completed_png(self) -> CompletedImage:
        """Return the usual sample as a PNG, completed with a scale factor of 2; uploaded once in a run."""
        return self.completed(make_sample("png"), {"scale_factor": 2})

    def download(self, image_id: int) -> Response:
        """GET ``/images/{id}/download``, follow its link without a token, and return that response.

        Raise CheckFailed if either does not return 200.
        """
        link = self._owner.get(f"{self.path}/{image_id}/download").expect(200).data["download_url"]
        return self._owner.transport.follow(link).expect(200, why="for a download link")

    def delete(self, image_id: int) -> Response:
        """Delete an image as the owner and return the response, whatever its status.

        It is not deleted again.
        """
        self._cleanup.forget(self.path, image_id)
        return self._owner.delete(f"{self.path}/{image_id}")

    def _complete(self, sample: Sample, fields: Mapping[str, object] | None) -> CompletedImage:
        """Upload the sample, wait for its end, download the result, and return all of it.

        Raise CheckFailed if it does not end completed, and Inconclusive on timeout or if the account may not
        upload it.
        """
        accepted = self.upload(sample, fields)
        image, statuses = self.wait(accepted["id"])
        if image.get("status") != "completed":
            raise CheckFailed(
                f"A valid image ({sample.format}) ends {image.get('status')!r}.",
                expected="completed",
                actual=image.get("error") or image.get("status"),
            )
        return CompletedImage(sample, accepted, image, self.download(image["id"]), statuses)
