"""Tests of the methods that each path allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, FakeWorker, User

UPLOAD = "/api/images/upscale"

ALLOWED = {
    "/api/auth/register": "POST",
    "/api/auth/login": "POST",
    "/api/auth/logout": "POST",
    "/api/auth/verify-email/1/x": "GET, HEAD",
    UPLOAD: "POST",
    "/api/images": "GET, HEAD",
    "/api/images/1": "GET, HEAD, DELETE",
    "/api/images/1/download": "GET, HEAD",
    "/api/user": "GET, HEAD",
    "/api/profile-photos/JS": "GET, HEAD",
    "/api/files/x": "GET, HEAD",
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


@pytest.mark.parametrize("path", ALLOWED)
def test_other_methods_return_405_with_allow(client: Client, path: str) -> None:
    for method in METHODS:
        if method in ALLOWED[path].split(", "):
            continue
        response = client.request(method, path)
        assert response.status == 405, method
        assert response.headers["Allow"] == ALLOWED[path]
        if method != "HEAD":
            assert response.message == "Method not allowed."


def test_preflight_without_cors_returns_405(client: Client) -> None:
    response = client.request(
        "OPTIONS",
        "/api/user",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"},
    )

    assert response.status == 405
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("override", ["X-HTTP-Method-Override", "X-Method-Override"])
def test_method_cannot_be_overridden(client: Client, jane: User, png: bytes, override: str) -> None:
    image_id = client.upload(jane.token, png).data["id"]

    client.get(f"/api/images/{image_id}", token=jane.token, headers={override: "DELETE"})

    assert client.get(f"/api/images/{image_id}", token=jane.token).status == 200


def test_head_has_headers_of_get_and_no_body(
    client: Client, jane: User, png: bytes, worker: FakeWorker
) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    worker.complete(image_id)
    file = client.get(f"/api/images/{image_id}/download", token=jane.token).data["download_url"]
    paths = [
        "/api/user",
        "/api/images",
        f"/api/images/{image_id}",
        "/api/images/0",
        "/api/images?page=0",
        "/api/nowhere",
        "/api/profile-photos/JS",
        "/health/live",
        file,
    ]
    for path in paths:
        of_get = client.get(path, token=jane.token)
        of_head = client.request("HEAD", path, token=jane.token)

        assert of_head.status == of_get.status, path
        for name in (
            "Content-Type",
            "Content-Length",
            "Cache-Control",
            "Content-Disposition",
            "X-RateLimit-Remaining",
        ):
            assert of_head.headers.get(name) == of_get.headers.get(name), (path, name)
    assert client.request("HEAD", "/api/user").status == 401
