"""Deletion of the images and batches that a run created."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.verdicts import CheckFailed, Inconclusive

if TYPE_CHECKING:
    from conformance.client import Client, Response, Transport

_NAME_FIELDS = {"/batches": "name", "/images": "original_filename"}


class Cleanup:
    """The images and batches that the run created and has not deleted, each with the client that owns it."""

    def __init__(self, transport: Transport, owner: Client, tag: str) -> None:
        self._transport = transport
        self._owner = owner
        self._tag = tag
        self._created: dict[str, dict[int, Client]] = {"/batches": {}, "/images": {}}

    def remember(self, path: str, created_id: int, client: Client | None = None) -> None:
        """Delete this item of ``/images`` or ``/batches`` at the end, by default as the owner.

        Raise KeyError for another path.
        """
        self._created[path][created_id] = client or self._owner

    def track(self, path: str, response: Response, client: Client) -> Response:
        """Return the response; if its status is below 300 and its data has an integer id, remember the item.

        Raise CheckFailed if such a response is not JSON.
        """
        if response.status < HTTPStatus.MULTIPLE_CHOICES:  # also for an upload that should have been rejected
            data = response.json.get("data") if isinstance(response.json, dict) else None
            if isinstance(data, dict) and isinstance(data.get("id"), int):
                self.remember(path, data["id"], client)
        return response

    def forget(self, path: str, deleted_id: int) -> None:
        """Do not delete this item at the end; do nothing if it is not remembered."""
        self._created[path].pop(deleted_id, None)

    def ids(self, path: str, client: Client) -> set[int]:
        """Return the ids of the remembered items of one client, identified by its token."""
        return {item for item, owner in self._created[path].items() if owner.token == client.token}

    def delete_all(self) -> list[str]:
        """Delete all remembered items, batches first and the newest first, and forget them.

        Return a message for each that may still exist. If a POST got no response, delete also the items with
        the tag in their names among the newest hundred of the owner.
        """
        if self._transport.posts_without_response:
            with suppress(CheckFailed, Inconclusive):
                self._find_lost()
        left = [
            message
            for path, created in self._created.items()
            for created_id, client in reversed(list(created.items()))
            if (message := _delete(client, path, created_id))
        ]
        self._created = {path: {} for path in self._created}
        return left

    def _find_lost(self) -> None:
        """Remember the owner's items with the tag in their names, among the newest hundred of each list.

        They come from requests without a response. Raise CheckFailed or Inconclusive if a list is not
        readable.
        """
        for path, field in _NAME_FIELDS.items():
            response = self._owner.get(path, params={"per_page": 100})
            for item in response.data if response.status == HTTPStatus.OK else []:
                if isinstance(item, dict) and self._tag in str(item.get(field)):
                    self._created[path].setdefault(item["id"], self._owner)


def _delete(client: Client, path: str, created_id: int) -> str:
    """Delete one item; return a message if it may still exist, else an empty string (200 or 404).

    Send a second DELETE for a batch, because the first one only cancels it while it is running; its status
    does not count.
    """
    remains = f"{path}/{created_id} may still exist"
    try:
        status = client.delete(f"{path}/{created_id}").status
        if path == "/batches" and status == HTTPStatus.OK:
            # The first DELETE cancels a running batch, the second one deletes it.
            client.delete(f"{path}/{created_id}")
    except (CheckFailed, Inconclusive) as reason:
        return f"{remains}: {reason}"
    return "" if status in {200, 404} else f"{remains}: its deletion returned {status}."
