"""Tests of Location and of Retry-After for polling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.headers import POLL_SECONDS

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, FakeWorker, User


def test_upload_names_the_image_and_the_time_to_poll_it(
    client: Client, jane: User, png: bytes, worker: FakeWorker
) -> None:
    uploaded = client.upload(jane.token, png)
    path = uploaded.headers["Location"].partition("/api")[2]
    pending = client.get(f"/api{path}", token=jane.token)
    worker.complete(pending.data["id"])
    completed = client.get(f"/api{path}", token=jane.token)

    assert uploaded.headers["Location"].startswith("http://")
    assert pending.data["id"] == uploaded.json["data"]["id"]
    assert {response.headers["Retry-After"] for response in (uploaded, pending)} == {str(POLL_SECONDS)}
    assert (completed.data["status"], completed.headers.get("Retry-After")) == ("completed", None)


def test_batch_names_itself_and_the_time_to_poll_it(client: Client, jane: User, png: bytes) -> None:
    created = client.upload_batch(jane.token, [png])
    path = created.headers["Location"].partition("/api")[2]
    pending = client.get(f"/api{path}", token=jane.token)
    client.delete(f"/api{path}", token=jane.token)
    cancelled = client.get(f"/api{path}", token=jane.token)

    assert pending.data["id"] == created.json["data"]["id"]
    assert {response.headers["Retry-After"] for response in (created, pending)} == {str(POLL_SECONDS)}
    assert (cancelled.data["status"], cancelled.headers.get("Retry-After")) == ("cancelled", None)


def test_registration_names_the_user(client: Client) -> None:
    fields = {
        "name": "Jo",
        "email": "jo@example.com",
        "password": "Correct-Horse-9",
        "password_confirmation": "Correct-Horse-9",
    }

    registered = client.post("/api/auth/register", json=fields)

    path = registered.headers["Location"].partition("/api")[2]
    assert client.get(f"/api{path}", token=registered.json["data"]["token"]).data["email"] == fields["email"]
