"""Every status of every operation in the contract, produced by a real request.

A new operation or status in ``openapi.yaml`` needs its request here, or these tests fail.
"""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import flask
import pytest
import yaml
from redis import Redis

from domain import batches, images, password_reset, tokens
from domain.uploads import Upload, UpscaleOptions
from tests.handlers.conftest import PASSWORD, ROOT, FakeWorker, create_user, gradient
from uprez.adapters.image_probe import probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.services import Services
    from tests.handlers.conftest import InProcessClient, Response, Server, StartServer, User

CONTRACT = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
PAGE = ROOT / "docs" / "coverage.md"
UNKNOWN_ID = 2**53 - 1

# The table of contents of the documentation that this contract implements.
DOCUMENTED = (
    "POST /auth/register", "POST /auth/login", "POST /auth/logout", "POST /auth/revoke-all",
    "POST /images/upscale", "GET /images/{id}", "GET /images", "GET /images/{id}/download",
    "DELETE /images/{id}",
    "POST /batches", "GET /batches/{id}", "GET /batches", "DELETE /batches/{id}",
    "GET /user", "GET /usage", "GET /subscription", "GET /user/tokens", "DELETE /user/tokens/{id}",
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    id: str
    document: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def needs(self) -> list[str]:
        """Return the scopes that the operation requires; empty for a public operation."""
        return list(self.document.get("x-uprez-requires", ()))

    @property
    def public(self) -> bool:
        return self.document.get("security") == []

    @property
    def media_type(self) -> str:
        (media_type,) = self.document["requestBody"]["content"]
        return str(media_type)

    @property
    def statuses(self) -> list[int]:
        return sorted(map(int, self.document["responses"]))


OPERATIONS = {
    operation["operationId"]: Operation(method.upper(), path, operation["operationId"], operation)
    for path, operations in CONTRACT["paths"].items()
    for method, operation in operations.items()
    if method in {"get", "post", "put", "patch", "delete"}
}
CASES = [(name, status) for name, operation in OPERATIONS.items() for status in operation.statuses]


@dataclass(frozen=True)
class Request:
    path: str
    token: str | None = None
    json: dict[str, Any] | None = None
    files: list[tuple[str, Any]] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of ``Client.request``."""
        body = {"json": self.json} if self.files is None else {"files": self.files}
        return {"token": self.token, "headers": self.headers, **(body if any(body.values()) else {})}


@dataclass
class Scenario:
    """A running server, with functions that create what a request needs."""

    server: Server
    password_hash: str
    user_count: int = 0

    @property
    def services(self) -> Services:
        return replace(self.server.services, probe=probe)

    def create_user(self, **options: Any) -> User:
        self.user_count += 1
        email = f"person{self.user_count}@example.com"
        return create_user(self.services, self.password_hash, **{"email": email, **options})

    def pending(self, user: User) -> int:
        return images.submit(self.services, user.account, _upload(), UpscaleOptions()).id

    def batch(self, user: User) -> int:
        return batches.submit(self.services, user.account, [_upload(), _upload()], UpscaleOptions()).batch.id

    def completed(self, user: User) -> int:
        image_id = self.pending(user)
        FakeWorker(self.services).complete(image_id)
        return image_id

    def file_url(self, user: User) -> str:
        image = images.get(self.services, user.account, self.completed(user))
        return images.download_url(self.services, image).removeprefix("/api")

    def send(self, operation: Operation, request: Request) -> Response:
        with self.server.client() as client:
            return client.request(operation.method, f"/api{request.path}", **request.options())


def _upload() -> Upload:
    content = gradient()
    return Upload("x.png", io.BytesIO(content), len(content))


# --- a valid request of each operation


def _register(scenario: Scenario) -> Request:
    scenario.user_count += 1
    fields = {
        "name": "Jane Smith",
        "email": f"new{scenario.user_count}@example.com",
        "password": PASSWORD,
        "password_confirmation": PASSWORD,
    }
    return Request("/auth/register", json=fields)


def _verify_email(scenario: Scenario) -> Request:
    fields = _register(scenario).json
    assert fields is not None
    with scenario.server.client() as client:
        assert client.post("/api/auth/register", json=fields).status == 201
    link = re.search(r"/api(/auth/verify-email/\S+)", scenario.server.mails_to(fields["email"])[-1])
    assert link is not None
    return Request(link[1])


def _login(scenario: Scenario) -> Request:
    return Request("/auth/login", json={"email": scenario.create_user().email, "password": PASSWORD})


def _reset_password(scenario: Scenario) -> Request:
    account, services = scenario.create_user().account, scenario.services
    token = password_reset.token_for(services.links, account, services.clock.now() + timedelta(hours=1))
    fields = {
        "email": account.email,
        "token": token,
        "password": PASSWORD,
        "password_confirmation": PASSWORD,
    }
    return Request("/auth/reset-password", json=fields)


def _upload_image(scenario: Scenario) -> Request:
    return Request("/images/upscale", scenario.create_user().token, files=[("image", ("x.png", gradient()))])


def _upload_batch(scenario: Scenario) -> Request:
    files = [("images[]", ("x.png", gradient())), ("images[]", ("y.jpg", gradient("JPEG")))]
    return Request("/batches", scenario.create_user().token, files=files)


def _get_batch(scenario: Scenario) -> Request:
    user = scenario.create_user()
    return Request(f"/batches/{scenario.batch(user)}", user.token)


def _completed_image(suffix: str = "") -> Callable[[Scenario], Request]:
    def request(scenario: Scenario) -> Request:
        user = scenario.create_user()
        return Request(f"/images/{scenario.completed(user)}{suffix}", user.token)

    return request


def _revoke_token(scenario: Scenario) -> Request:
    user = scenario.create_user()
    return Request(f"/user/tokens/{user.token.partition('|')[0]}", user.token)


def _authenticated(path: str, **options: Any) -> Callable[[Scenario], Request]:
    return lambda scenario: Request(path, scenario.create_user().token, **options)


def _anonymous(path: str, **options: Any) -> Callable[[Scenario], Request]:
    return lambda _: Request(path, **options)


VALID_REQUESTS: dict[str, Callable[[Scenario], Request]] = {
    "register": _register,
    "verify_email": _verify_email,
    "resend_verification": _anonymous("/auth/resend-verification", json={"email": "x@example.com"}),
    "forgot_password": _anonymous("/auth/forgot-password", json={"email": "x@example.com"}),
    "reset_password": _reset_password,
    "login": _login,
    "logout": _authenticated("/auth/logout"),
    "revoke_all_tokens": _authenticated("/auth/revoke-all"),
    "upscale_image": _upload_image,
    "list_images": _authenticated("/images"),
    "get_image": _completed_image(),
    "delete_image": _completed_image(),
    "download_image": _completed_image("/download"),
    "create_batch": _upload_batch,
    "list_batches": _authenticated("/batches"),
    "get_batch": _get_batch,
    "delete_batch": _get_batch,
    "get_user": _authenticated("/user"),
    "list_tokens": _authenticated("/user/tokens"),
    "create_token": _authenticated("/user/tokens", json={"name": "Laptop"}),
    "revoke_token": _revoke_token,
    "get_usage": _authenticated("/usage"),
    "get_subscription": _authenticated("/subscription"),
    "list_plans": _anonymous("/plans"),
    "get_profile_photo": _anonymous("/profile-photos/JS"),
    "get_file": lambda scenario: Request(scenario.file_url(scenario.create_user())),
}


# --- changes to a valid request that produce each status


def _success(scenario: Scenario, operation: Operation) -> Response:
    return scenario.send(operation, VALID_REQUESTS[operation.id](scenario))


def _malformed(scenario: Scenario, operation: Operation) -> Response:
    request = VALID_REQUESTS[operation.id](scenario)
    headers = {"Content-Type": {"multipart/form-data": "multipart/form-data; boundary=b"}.get(
        operation.media_type, operation.media_type
    )}  # fmt: skip
    with scenario.server.client() as client:
        return client.post(f"/api{request.path}", token=request.token, headers=headers, data=b'{"')


def _without_token(scenario: Scenario, operation: Operation) -> Response:
    return scenario.send(operation, replace(VALID_REQUESTS[operation.id](scenario), token=None))


def _without_abilities(scenario: Scenario, operation: Operation) -> Response:
    abilities = [ability for ability in tokens.ALL_ABILITIES if ability not in operation.needs]
    other = scenario.create_user(abilities=abilities)
    return scenario.send(operation, replace(VALID_REQUESTS[operation.id](scenario), token=other.token))


def _unknown_id(scenario: Scenario, operation: Operation) -> Response:
    request = VALID_REQUESTS[operation.id](scenario)
    return scenario.send(operation, replace(request, path=re.sub("[0-9]+", str(UNKNOWN_ID), request.path)))


def _too_large(scenario: Scenario, operation: Operation) -> Response:
    request = VALID_REQUESTS[operation.id](scenario)
    length = operation.document["requestBody"]["x-uprez-max-bytes"] + 1
    authorization = f"Authorization: Bearer {request.token}\n" if request.token else ""
    with scenario.server.connect() as connection:
        return connection.request(
            f"POST /api{request.path} HTTP/1.1\nHost: x\n{authorization}"
            f"Content-Type: {operation.media_type}\nContent-Length: {length}"
        )


def _unsupported_media_type(scenario: Scenario, operation: Operation) -> Response:
    request = VALID_REQUESTS[operation.id](scenario)
    with scenario.server.client() as client:
        headers = {"Content-Type": "text/plain"}
        return client.post(f"/api{request.path}", token=request.token, headers=headers, data=b"text")


def _unknown_field(scenario: Scenario, operation: Operation) -> Response:
    request = VALID_REQUESTS[operation.id](scenario)
    if request.json is not None:
        return scenario.send(operation, replace(request, json={**request.json, "unknown_field": 1}))
    if request.files is not None:
        return scenario.send(
            operation, replace(request, files=[*request.files, ("unknown_field", (None, "1"))])
        )
    return scenario.send(operation, replace(request, path=f"{request.path}?page=0"))


def _over_the_hourly_limit(scenario: Scenario, operation: Operation) -> Response:
    """Use up the limit of one request an hour, and send the next request."""
    user = scenario.create_user(plan="once")
    with scenario.server.client() as client:
        client.get("/api/user", token=None if operation.public else user.token)
    # The request is rejected before its validation, so that it need not be valid.
    path = re.sub("{.*?}", "1", operation.path)
    return scenario.send(operation, Request(path, None if operation.public else user.token))


def _corrupt_row(scenario: Scenario, operation: Operation) -> Response:
    """Write a row that no release of Uprez writes, and send a request that reads it."""
    request = VALID_REQUESTS[operation.id](scenario)
    with closing(sqlite3.connect(scenario.server.settings.data / "uprez.sqlite3")) as database:
        database.execute(
            "INSERT INTO subscriptions (account_id, status, created_at)"
            " SELECT id, 'unknown', created_at FROM accounts ORDER BY id DESC LIMIT 1"
        )
        if operation.id in _BY_NEW_ADDRESS:
            assert request.json is not None
            database.execute(
                "UPDATE accounts SET email = ? WHERE id = (SELECT max(id) FROM accounts)",
                [request.json["email"]],
            )
        database.commit()
    return scenario.send(operation, request)


def _missing_table(scenario: Scenario, operation: Operation) -> Response:
    """Rename a table, and send a request that needs it."""
    request = VALID_REQUESTS[operation.id](scenario)
    with closing(sqlite3.connect(scenario.server.settings.data / "uprez.sqlite3")) as database:
        database.execute("ALTER TABLE accounts RENAME TO lost")
        try:
            return scenario.send(operation, request)
        finally:
            database.execute("ALTER TABLE lost RENAME TO accounts")


_BY_NEW_ADDRESS = {"register"}
FOR_STATUS: dict[int, Callable[[Scenario, Operation], Response]] = {
    200: _success,
    201: _success,
    202: _success,
    400: _malformed,
    401: _without_token,
    403: _without_abilities,
    404: _unknown_id,
    413: _too_large,
    415: _unsupported_media_type,
    422: _unknown_field,
    429: _over_the_hourly_limit,
    500: _corrupt_row,
    503: _missing_table,
}


# --- operations that need another change for a status


def _download_of_a_pending_image(scenario: Scenario, operation: Operation) -> Response:
    user = scenario.create_user()
    return scenario.send(operation, Request(f"/images/{scenario.pending(user)}/download", user.token))


def _login_with_a_wrong_password(scenario: Scenario, operation: Operation) -> Response:
    fields = {"email": scenario.create_user().email, "password": "Wrong-Horse-9"}
    return scenario.send(operation, Request("/auth/login", json=fields))


def _login_before_verification(scenario: Scenario, operation: Operation) -> Response:
    fields = {"email": scenario.create_user(verified=False).email, "password": PASSWORD}
    return scenario.send(operation, Request("/auth/login", json=fields))


def _changed_link(scenario: Scenario, operation: Operation) -> Response:
    request = VALID_REQUESTS[operation.id](scenario)
    return scenario.send(operation, replace(request, path=f"{request.path}x"))


def _verification_of_an_impossible_id(scenario: Scenario, operation: Operation) -> Response:
    return scenario.send(operation, Request("/auth/verify-email/0/x"))


def _too_many_initials(scenario: Scenario, operation: Operation) -> Response:
    return scenario.send(operation, Request("/profile-photos/TOOMANY"))


def _file_that_was_deleted(scenario: Scenario, operation: Operation) -> Response:
    user = scenario.create_user()
    url = scenario.file_url(user)
    (image,) = images.list_page(scenario.services, user.account, None, 1, 1).images
    images.delete(scenario.services, user.account, image.id)
    return scenario.send(operation, Request(url))


def _file_with(headers: Callable[[Response], dict[str, str]]) -> Callable[[Scenario, Operation], Response]:
    def request(scenario: Scenario, operation: Operation) -> Response:
        valid = VALID_REQUESTS[operation.id](scenario)
        first = scenario.send(operation, valid)
        return scenario.send(operation, replace(valid, headers=headers(first)))

    return request


def _file_that_cannot_be_opened(scenario: Scenario, operation: Operation) -> Response:
    """Replace the file by a folder."""
    user = scenario.create_user()
    url = scenario.file_url(user)
    (image,) = images.list_page(scenario.services, user.account, None, 1, 1).images
    assert image.result is not None
    path = scenario.server.settings.data / "files" / image.result.key
    path.unlink()
    path.mkdir()
    return scenario.send(operation, Request(url))


OVERRIDES: dict[tuple[str, int], Callable[[Scenario, Operation], Response]] = {
    ("download_image", 400): _download_of_a_pending_image,
    ("login", 401): _login_with_a_wrong_password,
    ("login", 403): _login_before_verification,
    ("verify_email", 403): _changed_link,
    ("verify_email", 404): _verification_of_an_impossible_id,
    ("get_profile_photo", 404): _too_many_initials,
    ("get_file", 206): _file_with(lambda _: {"Range": "bytes=0-3"}),
    ("get_file", 304): _file_with(lambda first: {"If-None-Match": first.headers["ETag"]}),
    ("get_file", 403): _changed_link,
    ("get_file", 404): _file_that_was_deleted,
    ("get_file", 416): _file_with(lambda first: {"Range": f"bytes={len(first.body)}-"}),
    ("get_file", 503): _file_that_cannot_be_opened,
}
CRASHES_IN_PROCESS = {
    "resend_verification", "forgot_password",
    "list_plans", "get_profile_photo", "get_file",
}  # fmt: skip
"""They read no row, so that a corrupt database cannot make them crash."""


# --- tests


@pytest.fixture(scope="module")
def scenario(start_server: StartServer, password_hash: str) -> Scenario:
    return Scenario(start_server(), password_hash)


@pytest.fixture(scope="module")
def rate_limited_scenario(
    start_server: StartServer, valkey: str, password_hash: str, tmp_path_factory: pytest.TempPathFactory
) -> Scenario:
    with Redis(unix_socket_path=valkey.removeprefix("unix://")) as client:
        client.flushall()
    plans = tmp_path_factory.mktemp("plans") / "toml"
    features = '["api_access", "batches"]'
    plans.write_text(
        f'[[plans]]\nid = 1\nname = "Once"\nslug = "once"\nprice = 0\nrequests_per_hour = 1\n'
        f"images_per_month = 1\nmax_scale = 4\nfeatures = {features}\n"
    )
    server = start_server(
        limits_url=f"redis+{valkey}", unauthenticated_per_hour=1, plans_file=plans, default_plan="once"
    )
    return Scenario(server, password_hash)


@pytest.mark.parametrize(("name", "status"), [case for case in CASES if case[1] not in {429, 500}])
def test_every_documented_status_can_be_produced(scenario: Scenario, name: str, status: int) -> None:
    produce = OVERRIDES.get((name, status)) or FOR_STATUS[status]
    assert produce(scenario, OPERATIONS[name]).status == status


@pytest.mark.parametrize("name", [name for name, status in CASES if status == 429])
def test_every_counted_operation_returns_429(rate_limited_scenario: Scenario, name: str) -> None:
    assert _over_the_hourly_limit(rate_limited_scenario, OPERATIONS[name]).status == 429


@pytest.mark.parametrize("name", [name for name, status in CASES if status == 500])
def test_every_crash_returns_an_envelope(
    scenario: Scenario, name: str, in_process: Callable[[Services], InProcessClient]
) -> None:
    operation = OPERATIONS[name]
    if name not in CRASHES_IN_PROCESS:
        assert _corrupt_row(scenario, operation).status == 500
        return

    def crash(_app: flask.Flask) -> None:
        raise RuntimeError("a bug")

    with flask.request_started.connected_to(crash):
        request = VALID_REQUESTS[name](scenario)
        response = in_process(scenario.services).request(
            operation.method,
            f"/api{request.path}",
            {"Content-Type": "application/json"},
            json.dumps(request.json).encode() if request.json else b"",
        )
        assert response.status == 500


def test_every_operation_is_documented_or_an_extension() -> None:
    names = {operation.name for operation in OPERATIONS.values()}
    extensions = {
        operation.name
        for operation in OPERATIONS.values()
        if operation.document.get("x-uprez-extension") is True
    }
    assert names - extensions == set(DOCUMENTED)


# UPREZ_TEST_WRITE_DOCS=1 writes the page instead.
def test_coverage_page_is_up_to_date() -> None:
    text = PAGE.read_text("utf-8") if PAGE.exists() else ""
    if os.environ.get("UPREZ_TEST_WRITE_DOCS"):
        PAGE.write_text(_page(), "utf-8")
        text = _page()
    assert text == _page(), "The page is outdated. Run this test with UPREZ_TEST_WRITE_DOCS=1."


def _page() -> str:
    statuses = sorted({status for _, status in CASES})
    documented = [operation for operation in OPERATIONS.values() if operation.name in DOCUMENTED]
    documented.sort(key=lambda operation: DOCUMENTED.index(operation.name))
    extensions = [operation for operation in OPERATIONS.values() if operation.name not in DOCUMENTED]
    lines = [
        "# Coverage of the contract",
        "",
        "Each ✓ is a response that a test has produced with its own request and validated against",
        "`openapi.yaml`: envelope, headers, schema. The page is written by `tests/handlers/test_every_status.py`,",
        "which fails when the contract has an operation or a status that no request produces.",
    ]
    for title, operations in (("The documented operations", documented), ("Extensions", extensions)):
        lines += ["", f"## {title}", "", f"| operation | {' | '.join(map(str, statuses))} |"]
        lines.append(f"| --- |{' :-: |' * len(statuses)}")
        for operation in operations:
            marks = "|".join(" ✓ " if status in operation.statuses else " " for status in statuses)
            lines.append(f"| `{operation.name}` |{marks}|")
    return "\n".join(lines) + "\n"
