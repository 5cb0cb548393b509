"""The requests that images and batches have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from conformance.plans import expect_within_plan
from conformance.polling import poll
from conformance.verdicts import Inconclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conformance.client import Client, Response
    from conformance.images.samples import Sample
    from conformance.kit.cleanup import Cleanup


class Collection:
    """The items at one path of the API, as their owner requests them."""

    path: ClassVar[str]
    terminal: ClassVar[frozenset[str]]

    def __init__(self, owner: Client, cleanup: Cleanup, tag: str, work_timeout: float) -> None:
        """Initialize; ``work_timeout`` is the time that processing may take, in seconds."""
        self._owner = owner
        self._cleanup = cleanup
        self._tag = tag
        self._work_timeout = work_timeout

    def get(self, item_id: int) -> dict[str, Any]:
        """GET the item as the owner and return its data. Raise CheckFailed for a status other than 200."""
        data: dict[str, Any] = self._owner.get(f"{self.path}/{item_id}").expect(200).data
        return data

    def poll(
        self, item_id: int, until: Callable[[dict[str, Any]], object], growth: float = 1.5
    ) -> dict[str, Any]:
        """Request the item until ``until`` is true of its data, and return the data.

        Return the last data, without an error, when the time for processing is over. ``growth`` multiplies
        the pause between requests. Raise CheckFailed if a request does not return 200.
        """
        return poll(lambda: self.get(item_id), until, timeout_seconds=self._work_timeout, growth=growth)

    def wait(self, item_id: int) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the item in its final status and the statuses seen, in order, the final one included.

        Consecutive repetitions appear once. Raise Inconclusive on timeout, and CheckFailed if a request does not
        return 200.
        """
        seen: list[str] = []

        def has_ended(data: dict[str, Any]) -> bool:
            """Store a status that differs from the last one; return whether it is final."""
            status = str(data.get("status"))
            if not seen or seen[-1] != status:
                seen.append(status)
            return status in self.terminal

        data = self.poll(item_id, has_ended)
        self.expect_ended(item_id, seen[-1])
        return data, tuple(seen)

    def expect_ended(self, item_id: int, status: str) -> None:
        """Raise Inconclusive, which names the timeout, unless the status is final. No request is sent."""
        if status not in self.terminal:
            raise Inconclusive(
                f"{self.path}/{item_id} is still {status!r} after {self._work_timeout:.0f} s. Raise --work-timeout."
            )

    def filename(self, sample: Sample) -> str:
        """Return the file name to send, which contains the tag."""
        return sample.filename if self._tag in sample.filename else f"{self._tag}-{sample.filename}"

    def _part(self, sample: Sample) -> tuple[str, bytes, str]:
        """Return the sample as a file of a multipart form: name, content, media type."""
        return (self.filename(sample), sample.content, sample.media_type)

    def _accepted(
        self, response: Response, samples: Sequence[Sample], fields: Mapping[str, object], client: Client
    ) -> dict[str, Any]:
        """Return the data of a 202.

        Raise Inconclusive for a 403, or for a 422 if the factor exceeds the plan (this sends GET
        /subscription); CheckFailed for any other status.
        """
        expect_within_plan(response.permitted(), samples, fields, client)
        data: dict[str, Any] = response.expect(202, why="with valid images").data
        return data
