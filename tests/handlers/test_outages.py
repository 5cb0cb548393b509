"""Responses when the database, the store or the broker fails."""

from __future__ import annotations

import io
import json
import secrets
import sqlite3
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import flask
import pytest
from sqlalchemy import update

from domain import images, quota, uploads
from domain.database import tables
from domain.database.unit_of_work import Database
from domain.errors import InvalidLink, Unavailable
from domain.stores.local import LocalFiles
from tests.handlers.conftest import create_user
from uprez import wiring
from uprez.adapters.image_probe import probe
from uprez.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from domain.services import Services
    from tests.handlers.conftest import Client, InProcessClient, StartServer, User

    MakeInProcessClient = Callable[[Services], InProcessClient]

UNAVAILABLE = {"success": False, "message": "Service unavailable. Try again later."}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Provide services on a data folder of this test."""
    settings = Settings(data=tmp_path, broker_url=f"unix://{tmp_path}/no-broker.sock")
    wiring.prepare_embedded(settings)
    services = wiring.make_services(settings, probe)
    yield services
    services.database.close()


@pytest.fixture
def owner(services: Services, make_owner: Callable[[Services], User]) -> User:
    return make_owner(services)


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {user.token}"}


def form(content: bytes) -> tuple[dict[str, str], bytes]:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
        + content
        + b"\r\n--b--\r\n"
    )
    return {"Content-Type": "multipart/form-data; boundary=b"}, body


def stored_image(services: Services, owner: User, png: bytes) -> int:
    upload = uploads.Upload("x.png", io.BytesIO(png), len(png))
    return images.submit(services, owner.account, upload, uploads.UpscaleOptions()).id


# --- crashes


def test_crash_returns_only_its_id_and_is_logged(
    services: Services,
    owner: User,
    in_process: MakeInProcessClient,
    png: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    image_id = stored_image(services, owner, png)
    with services.database.engine.begin() as connection:
        connection.execute(update(tables.images).values(status="nonsense"))

    response = in_process(services).request("GET", f"/api/images/{image_id}", bearer(owner))

    assert (response.status, response.json) == (500, {"success": False, "message": "Server error"})
    assert response.headers["X-Request-Id"] in caplog.text
    assert "nonsense" in caplog.text


def test_crash_in_a_list_returns_500(
    services: Services, owner: User, in_process: MakeInProcessClient, png: bytes
) -> None:
    stored_image(services, owner, png)
    with services.database.engine.begin() as connection:
        connection.execute(update(tables.images).values(image_format="nonsense"))
    app = in_process(services)

    assert app.request("GET", "/api/images", bearer(owner)).json == {
        "success": False,
        "message": "Server error",
    }
    assert app.request("GET", "/api/user", bearer(owner)).status == 200


def test_removed_plan_returns_500_without_details(
    services: Services, owner: User, in_process: MakeInProcessClient
) -> None:
    with services.database.engine.begin() as connection:
        connection.execute(update(tables.accounts).values(plan="retired"))
    app = in_process(services)

    for path in ("/api/user", "/api/images"):
        response = app.request("GET", path, bearer(owner))
        assert (response.status, response.json) == (500, {"success": False, "message": "Server error"})


def test_two_applications_in_one_process_are_independent(
    services: Services, owner: User, in_process: MakeInProcessClient, tmp_path: Path
) -> None:
    other_data = tmp_path / "other"
    settings = Settings(data=other_data, broker_url=f"unix://{tmp_path}/no-broker.sock")
    wiring.prepare_embedded(settings)
    others = wiring.make_services(settings, probe)
    mine, theirs = in_process(services), in_process(others)

    assert mine.request("GET", "/api/user", bearer(owner)).status == 200
    assert theirs.request("GET", "/api/user", bearer(owner)).status == 401
    others.database.close()


# --- the database


@pytest.fixture
def without_database(services: Services, tmp_path: Path) -> Iterator[Services]:
    gone = Database(f"sqlite:///{tmp_path}/no/such/folder/db.sqlite3")
    yield replace(services, database=gone)
    gone.close()


# These requests read only the counters, so that an outage reveals nothing about the address.
@pytest.mark.parametrize("path", ["/api/auth/forgot-password", "/api/auth/resend-verification"])
def test_mail_requests_return_200_without_a_database(
    without_database: Services, in_process: MakeInProcessClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    headers = {"Content-Type": "application/json"}

    response = in_process(without_database).request("POST", path, headers, b'{"email": "jane@example.com"}')

    assert response.status == 200
    assert "background_task_failed" in caplog.text


def test_missing_database_returns_503(
    without_database: Services, owner: User, in_process: MakeInProcessClient
) -> None:
    app = in_process(without_database)
    for method, path in (
        ("GET", "/api/user"),
        ("GET", "/api/images"),
        ("GET", "/api/images/1"),
        ("DELETE", "/api/images/1"),
        ("GET", "/api/images/1/download"),
        ("POST", "/api/auth/logout"),
        ("POST", "/api/images/upscale"),
        ("GET", "/health/ready"),
    ):
        response = app.request(method, path, bearer(owner))

        assert (response.status, response.json) == (503, UNAVAILABLE), path
        assert int(response.headers["Retry-After"]) > 0


def test_reason_of_a_503_is_logged(
    without_database: Services, owner: User, in_process: MakeInProcessClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = in_process(without_database).request("GET", "/api/user", bearer(owner))

    (record,) = [
        record for record in caplog.records if response.headers["X-Request-Id"] in record.getMessage()
    ]
    assert record.levelname == "WARNING"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Unavailable)


def test_response_without_quota_headers_is_logged(
    services: Services,
    owner: User,
    in_process: MakeInProcessClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def usage(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(quota, "usage", usage)

    response = in_process(services).request("DELETE", "/api/images/1", bearer(owner))

    assert response.status == 404
    assert "X-RateLimit-Limit" not in response.headers
    assert f"quota_headers_unavailable request_id={response.headers['X-Request-Id']}" in caplog.text


def test_login_and_registration_return_503_without_database(
    without_database: Services, in_process: MakeInProcessClient
) -> None:
    app = in_process(without_database)
    headers = {"Content-Type": "application/json"}
    login = {"email": "jane@example.com", "password": "Correct-Horse-9"}
    registration = {**login, "name": "Jane", "password_confirmation": "Correct-Horse-9"}

    assert app.request("POST", "/api/auth/login", headers, json.dumps(login).encode()).status == 503
    assert app.request("POST", "/api/auth/register", headers, json.dumps(registration).encode()).status == 503


def test_verification_link_returns_503_without_a_database(
    services: Services, without_database: Services, owner: User, in_process: MakeInProcessClient
) -> None:
    expires_at = services.clock.now() + services.policy.verification_link_lifetime
    payload = {"id": owner.account.id, "email": owner.email}
    signed = services.links.sign("verify-email", payload, expires_at)

    response = in_process(without_database).request(
        "GET", f"/api/auth/verify-email/{owner.account.id}/{signed}"
    )

    assert (response.status, response.json) == (503, UNAVAILABLE)


def test_operations_without_database_access_still_work(
    without_database: Services, in_process: MakeInProcessClient
) -> None:
    app = in_process(without_database)

    assert app.request("GET", "/health/live").status == 200
    assert app.request("GET", "/api/profile-photos/JS").status == 200
    assert app.request("GET", "/api/user").status == 401
    assert app.request("GET", "/api/nowhere").status == 404
    assert app.request("GET", "/api/files/x").status == 403


def test_locked_database_rejects_uploads_and_allows_reads(
    start_server: StartServer, password_hash: str, png: bytes
) -> None:
    """The first request of a token, which writes its time of use, is a read too."""
    server = start_server()  # a separate server, because the outage is in its log
    reader = create_user(server.services, password_hash, email="reader@example.com")
    writer = create_user(server.services, password_hash, email="writer@example.com")
    lock = sqlite3.connect(server.settings.data / "uprez.sqlite3", isolation_level=None)
    with server.client() as client:
        assert client.get("/health/ready").status == 200  # the worker has started
        try:
            lock.execute("BEGIN IMMEDIATE")
            read = client.get("/api/images", token=reader.token)
            rejected = client.upload(writer.token, png)
        finally:
            lock.close()

        assert read.status == 200
        assert (rejected.status, rejected.json) == (503, UNAVAILABLE)
        assert rejected.seconds < 30  # it does not wait until the lock is gone
        assert client.get("/api/images", token=writer.token).data == []
        assert client.upload(writer.token, png).headers["X-RateLimit-Remaining"] == "999"
    assert rejected.headers["X-Request-Id"] in server.log.read_text("utf-8")


# --- the store of files


@dataclass(frozen=True)
class BrokenStore:
    """A store that is full or down: every method fails."""

    def put(self, _key: str, _content: BinaryIO) -> int:
        raise Unavailable

    def open(self, _key: str) -> BinaryIO:
        raise Unavailable

    def delete(self, _key: str) -> None:
        raise Unavailable

    def signed_url(self, _key: str, _filename: str, _expires_at: object) -> str:
        raise Unavailable

    def open_signed(self, _signed: str, _now: object) -> None:
        raise InvalidLink


def test_upload_that_cannot_be_stored_uses_no_quota(
    services: Services, owner: User, in_process: MakeInProcessClient, png: bytes
) -> None:
    headers, body = form(png)
    app = in_process(replace(services, store=BrokenStore()))

    response = app.request("POST", "/api/images/upscale", {**headers, **bearer(owner)}, body)

    assert (response.status, response.json) == (503, UNAVAILABLE)
    assert response.headers["X-RateLimit-Remaining"] == "1000"
    assert app.request("GET", "/api/images", bearer(owner)).data == []


def test_full_disk_returns_503_and_leaves_no_file(
    services: Services, owner: User, in_process: MakeInProcessClient, png: bytes, tmp_path: Path
) -> None:
    """A file takes the place of the store's folder."""
    (tmp_path / "files").write_bytes(b"")
    headers, body = form(png)

    response = in_process(services).request("POST", "/api/images/upscale", {**headers, **bearer(owner)}, body)

    assert response.status == 503
    assert (tmp_path / "files").read_bytes() == b""


def test_image_can_be_deleted_while_the_store_is_down(
    services: Services, owner: User, in_process: MakeInProcessClient, png: bytes
) -> None:
    """The row is deleted at once, the file by the reconciler."""
    image_id = stored_image(services, owner, png)
    app = in_process(replace(services, store=BrokenStore()))

    assert app.request("DELETE", f"/api/images/{image_id}", bearer(owner)).status == 200
    assert app.request("GET", f"/api/images/{image_id}", bearer(owner)).status == 404


def test_local_links_return_403_with_another_store(
    services: Services, in_process: MakeInProcessClient
) -> None:
    assert isinstance(services.store, LocalFiles)
    expires_at = services.clock.now() + services.policy.download_link_lifetime
    link = services.store.signed_url(f"results/{secrets.token_hex(4)}.png", "x.png", expires_at)

    assert in_process(services).request("GET", link).status == 404
    assert in_process(replace(services, store=BrokenStore())).request("GET", link).status == 403


@pytest.mark.parametrize(
    ("reason", "status"), [(FileNotFoundError, 404), (PermissionError, 503), (OSError, 503)]
)
def test_file_lost_during_a_download_does_not_crash(
    services: Services,
    in_process: MakeInProcessClient,
    monkeypatch: pytest.MonkeyPatch,
    reason: type[OSError],
    status: int,
) -> None:
    assert isinstance(services.store, LocalFiles)
    key = f"originals/{secrets.token_hex(4)}.png"
    services.store.put(key, io.BytesIO(b"x"))
    link = services.store.signed_url(
        key, "x.png", services.clock.now() + services.policy.download_link_lifetime
    )

    def send_file(*_: object, **__: object) -> None:
        raise reason

    monkeypatch.setattr(flask, "send_file", send_file)

    assert in_process(services).request("GET", link).status == status


# --- the queue


def test_upload_is_accepted_while_the_broker_is_down(client: Client, jane: User, png: bytes) -> None:
    """The broker of this server was never up."""
    response = client.upload(jane.token, png)

    assert response.status == 202
    assert response.seconds < 10  # one attempt to connect, no retries


def test_full_queue_returns_503_with_retry_after(
    services: Services, owner: User, in_process: MakeInProcessClient, png: bytes
) -> None:
    stored_image(services, owner, png)
    headers, body = form(png)
    app = in_process(replace(services, policy=replace(services.policy, max_waiting_images=1)))

    for path, sent in (
        ("/api/images/upscale", body),
        ("/api/batches", body.replace(b'name="image"', b'name="images[]"')),
    ):
        response = app.request("POST", path, {**headers, **bearer(owner)}, sent)

        assert (response.status, response.json) == (503, UNAVAILABLE)
        assert int(response.headers["Retry-After"]) > 0
        assert response.headers["X-RateLimit-Remaining"] == "999"
