"""What a client hears when something behind the API is broken or gone: the truth, and no more."""

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
from tests.handlers.conftest import make_person
from uprez import wiring
from uprez.adapters.image_probe import probe
from uprez.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from domain.services import Services
    from tests.handlers.conftest import Client, InProcess, Person, StartServer

    RunInProcess = Callable[[Services], InProcess]

UNAVAILABLE = {"success": False, "message": "Service unavailable. Try again later."}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """An installation of this test alone."""
    settings = Settings(data=tmp_path, broker_url=f"unix://{tmp_path}/nobody-listens.sock")
    wiring.prepare_embedded(settings)
    services = wiring.make_services(settings, probe)
    yield services
    services.database.close()


@pytest.fixture
def owner(services: Services, make_owner: Callable[[Services], Person]) -> Person:
    return make_owner(services)


def bearer(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"}


def form(content: bytes) -> tuple[dict[str, str], bytes]:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
        + content
        + b"\r\n--b--\r\n"
    )
    return {"Content-Type": "multipart/form-data; boundary=b"}, body


def stored_image(services: Services, owner: Person, png: bytes) -> int:
    upload = uploads.Upload("x.png", io.BytesIO(png), len(png))
    return images.submit(services, owner.account, upload, uploads.UpscaleOptions()).id


# --- crashes


def test_a_crash_says_nothing_but_its_id_which_the_log_explains(
    services: Services, owner: Person, in_process: RunInProcess, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    image_id = stored_image(services, owner, png)
    with services.database.engine.begin() as connection:
        connection.execute(update(tables.images).values(status="nonsense"))

    reply = in_process(services).ask("GET", f"/api/images/{image_id}", bearer(owner))

    assert (reply.status, reply.json) == (500, {"success": False, "message": "Server error"})
    assert reply.headers["X-Request-Id"] in caplog.text
    assert "nonsense" in caplog.text


def test_a_crash_in_a_list_is_a_crash_like_any_other(
    services: Services, owner: Person, in_process: RunInProcess, png: bytes
) -> None:
    stored_image(services, owner, png)
    with services.database.engine.begin() as connection:
        connection.execute(update(tables.images).values(image_format="nonsense"))
    app = in_process(services)

    assert app.ask("GET", "/api/images", bearer(owner)).json == {"success": False, "message": "Server error"}
    assert app.ask("GET", "/api/user", bearer(owner)).status == 200


def test_a_plan_that_is_gone_is_a_crash_and_no_secret(
    services: Services, owner: Person, in_process: RunInProcess
) -> None:
    with services.database.engine.begin() as connection:
        connection.execute(update(tables.accounts).values(plan="retired"))
    app = in_process(services)

    for path in ("/api/user", "/api/images"):
        reply = app.ask("GET", path, bearer(owner))
        assert (reply.status, reply.json) == (500, {"success": False, "message": "Server error"})


def test_two_installations_in_one_process_know_their_own_people(
    services: Services, owner: Person, in_process: RunInProcess, tmp_path: Path
) -> None:
    other_data = tmp_path / "other"
    settings = Settings(data=other_data, broker_url=f"unix://{tmp_path}/nobody-listens.sock")
    wiring.prepare_embedded(settings)
    others = wiring.make_services(settings, probe)
    mine, theirs = in_process(services), in_process(others)

    assert mine.ask("GET", "/api/user", bearer(owner)).status == 200
    assert theirs.ask("GET", "/api/user", bearer(owner)).status == 401
    others.database.close()


# --- the database


@pytest.fixture
def without_database(services: Services, tmp_path: Path) -> Iterator[Services]:
    gone = Database(f"sqlite:///{tmp_path}/no/such/folder/db.sqlite3")
    yield replace(services, database=gone)
    gone.close()


# Asking for mail touches nothing but the counters, so that an outage tells as little as everything else.
@pytest.mark.parametrize("path", ["/api/auth/forgot-password", "/api/auth/resend-verification"])
def test_without_its_database_the_service_takes_note_of_who_asks_for_mail(
    without_database: Services, in_process: RunInProcess, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    headers = {"Content-Type": "application/json"}

    reply = in_process(without_database).ask("POST", path, headers, b'{"email": "jane@example.com"}')

    assert reply.status == 200
    assert "could not be done" in caplog.text


def test_without_its_database_the_service_is_unavailable(
    without_database: Services, owner: Person, in_process: RunInProcess
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
        reply = app.ask(method, path, bearer(owner))

        assert (reply.status, reply.json) == (503, UNAVAILABLE), path
        assert int(reply.headers["Retry-After"]) > 0


def test_the_log_says_why_the_service_was_unavailable(
    without_database: Services, owner: Person, in_process: RunInProcess, caplog: pytest.LogCaptureFixture
) -> None:
    reply = in_process(without_database).ask("GET", "/api/user", bearer(owner))

    (record,) = [record for record in caplog.records if reply.headers["X-Request-Id"] in record.getMessage()]
    assert record.levelname == "WARNING"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Unavailable)


def test_an_answer_stands_without_its_quota_and_the_log_says_so(
    services: Services,
    owner: Person,
    in_process: RunInProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def usage(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(quota, "usage", usage)

    reply = in_process(services).ask("DELETE", "/api/images/1", bearer(owner))

    assert reply.status == 404
    assert "X-RateLimit-Limit" not in reply.headers
    assert f"quota_headers_unavailable request_id={reply.headers['X-Request-Id']}" in caplog.text


def test_nobody_registers_or_logs_in_without_a_database(
    without_database: Services, in_process: RunInProcess
) -> None:
    app = in_process(without_database)
    headers = {"Content-Type": "application/json"}
    login = {"email": "jane@example.com", "password": "Correct-Horse-9"}
    registration = {**login, "name": "Jane", "password_confirmation": "Correct-Horse-9"}

    assert app.ask("POST", "/api/auth/login", headers, json.dumps(login).encode()).status == 503
    assert app.ask("POST", "/api/auth/register", headers, json.dumps(registration).encode()).status == 503


def test_a_verification_link_waits_for_the_database(
    services: Services, without_database: Services, owner: Person, in_process: RunInProcess
) -> None:
    expires_at = services.clock.now() + services.policy.verification_link_lifetime
    payload = {"id": owner.account.id, "email": owner.email}
    signed = services.links.sign("verify-email", payload, expires_at)

    reply = in_process(without_database).ask("GET", f"/api/auth/verify-email/{owner.account.id}/{signed}")

    assert (reply.status, reply.json) == (503, UNAVAILABLE)


def test_what_needs_no_database_is_answered_without_one(
    without_database: Services, in_process: RunInProcess
) -> None:
    app = in_process(without_database)

    assert app.ask("GET", "/health/live").status == 200
    assert app.ask("GET", "/api/profile-photos/JS").status == 200
    assert app.ask("GET", "/api/user").status == 401
    assert app.ask("GET", "/api/nowhere").status == 404
    assert app.ask("GET", "/api/files/x").status == 403


def test_a_locked_database_refuses_uploads_soon_and_readers_never(
    start_server: StartServer, password_hash: str, png: bytes
) -> None:
    """Also the first request of a token, which would note when it was used."""
    server = start_server()  # its own, because the outage stands in its log
    reader = make_person(server.services, password_hash, email="reader@example.com")
    writer = make_person(server.services, password_hash, email="writer@example.com")
    lock = sqlite3.connect(server.settings.data / "uprez.sqlite3", isolation_level=None)
    with server.client() as client:
        assert client.get("/health/ready").status == 200  # the worker has started
        try:
            lock.execute("BEGIN IMMEDIATE")
            read = client.get("/api/images", token=reader.token)
            refused = client.upload(writer.token, png)
        finally:
            lock.close()

        assert read.status == 200
        assert read.seconds < 3
        assert (refused.status, refused.json) == (503, UNAVAILABLE)
        assert refused.seconds < 5
        assert client.get("/api/images", token=writer.token).data == []
        assert client.upload(writer.token, png).headers["X-RateLimit-Remaining"] == "999"
    assert refused.headers["X-Request-Id"] in server.log.read_text("utf-8")


# --- the store of files


@dataclass(frozen=True)
class BrokenStore:
    """Full, or gone: whatever is asked of it fails."""

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


def test_an_upload_that_cannot_be_stored_costs_nothing(
    services: Services, owner: Person, in_process: RunInProcess, png: bytes
) -> None:
    headers, body = form(png)
    app = in_process(replace(services, store=BrokenStore()))

    reply = app.ask("POST", "/api/images/upscale", {**headers, **bearer(owner)}, body)

    assert (reply.status, reply.json) == (503, UNAVAILABLE)
    assert reply.headers["X-RateLimit-Remaining"] == "1000"
    assert app.ask("GET", "/api/images", bearer(owner)).data == []


def test_a_full_disk_is_an_outage_and_leaves_no_half_file(
    services: Services, owner: Person, in_process: RunInProcess, png: bytes, tmp_path: Path
) -> None:
    """A file stands where the folder of originals belongs."""
    (tmp_path / "files").write_bytes(b"")
    headers, body = form(png)

    reply = in_process(services).ask("POST", "/api/images/upscale", {**headers, **bearer(owner)}, body)

    assert reply.status == 503
    assert (tmp_path / "files").read_bytes() == b""


def test_an_image_can_be_deleted_while_the_store_is_down(
    services: Services, owner: Person, in_process: RunInProcess, png: bytes
) -> None:
    """It is gone for its owner; the file is swept up later."""
    image_id = stored_image(services, owner, png)
    app = in_process(replace(services, store=BrokenStore()))

    assert app.ask("DELETE", f"/api/images/{image_id}", bearer(owner)).status == 200
    assert app.ask("GET", f"/api/images/{image_id}", bearer(owner)).status == 404


def test_our_own_links_lead_nowhere_when_another_store_serves_the_files(
    services: Services, in_process: RunInProcess
) -> None:
    assert isinstance(services.store, LocalFiles)
    expires_at = services.clock.now() + services.policy.download_link_lifetime
    link = services.store.signed_url(f"results/{secrets.token_hex(4)}.png", "x.png", expires_at)

    assert in_process(services).ask("GET", link).status == 404
    assert in_process(replace(services, store=BrokenStore())).ask("GET", link).status == 403


@pytest.mark.parametrize(
    ("reason", "status"), [(FileNotFoundError, 404), (PermissionError, 503), (OSError, 503)]
)
def test_a_file_that_is_lost_while_it_is_looked_at_is_no_crash(
    services: Services,
    in_process: RunInProcess,
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

    assert in_process(services).ask("GET", link).status == status


# --- the queue


def test_an_upload_is_accepted_while_the_broker_is_down(client: Client, jane: Person, png: bytes) -> None:
    """The broker of this server has never been up."""
    reply = client.upload(jane.token, png)

    assert reply.status == 202
    assert reply.seconds < 3


def test_while_too_many_images_wait_uploads_are_asked_to_come_again(
    services: Services, owner: Person, in_process: RunInProcess, png: bytes
) -> None:
    stored_image(services, owner, png)
    headers, body = form(png)
    app = in_process(replace(services, policy=replace(services.policy, max_waiting_images=1)))

    for path, sent in (
        ("/api/images/upscale", body),
        ("/api/batches", body.replace(b'name="image"', b'name="images[]"')),
    ):
        reply = app.ask("POST", path, {**headers, **bearer(owner)}, sent)

        assert (reply.status, reply.json) == (503, UNAVAILABLE)
        assert int(reply.headers["Retry-After"]) > 0
        assert reply.headers["X-RateLimit-Remaining"] == "999"
