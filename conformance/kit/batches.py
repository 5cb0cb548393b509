"""Uploads of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.kit.collection import Collection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.client import Client, Response
    from conformance.images.samples import Sample

BATCH_TERMINAL = frozenset({"completed", "partially_failed", "failed", "cancelled"})


class Batches(Collection):
    """The batches of the account. All of them are deleted at the end of the run."""

    path = "/batches"
    terminal = BATCH_TERMINAL

    def try_create(
        self,
        samples: list[Sample],
        fields: Mapping[str, object] | None = None,
        *,
        client: Client | None = None,
    ) -> Response:
        """Send a new batch and return the response, whatever its status; it is deleted at the end of the run.

        Its name is the run's tag unless ``fields`` has another name, or None for no name. Other fields that
        are None are left out too. Raise Inconclusive without a response.
        """
        client = client or self._owner
        parts = [("images[]", self._part(sample)) for sample in samples]
        named = {"name": self._tag, **(fields or {})}
        form = {name: str(value) for name, value in named.items() if value is not None}
        return self._cleanup.track(self.path, client.post(self.path, files=parts, data=form), client)

    def create(self, samples: list[Sample], fields: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Create a batch of the owner and return the data of the 202.

        Raise Inconclusive for a 403, and for a 422 if the factor exceeds the plan; CheckFailed for any other
        status.
        """
        return self._accepted(self.try_create(samples, fields), samples, fields or {}, self._owner)
