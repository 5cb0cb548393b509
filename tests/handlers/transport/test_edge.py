"""Tests of what applies to every response."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, RawConnection, User

UNKNOWN_PATHS = [
    "/",
    "/api",
    "/api/",
    "/api/nowhere",
    "/api/images/",
    "/api/images/1/",
    "/api/images//",
    "/api//images",
    "//api/images",
    "/api/images/1/download/",
    "/api/images/1/downloads",
    "/api/images/1/download/x",
    "/api/batches/x/y",
    "/API/images",
    "/api/Images",
    "/api/images;x=1",
    "/api/./images/..",
    "/api/images/..%2f",
    "/api/%2e%2e/health/live",
    "/images",
    "/health",
    "/health/",
    "/health/live/",
    "/health//live",
    "//health/live",
    "/health/live/x",
    "/static/x",
    "/static/../openapi.yaml",
    "/openapi.json",
    "/api/ui",
    "/api/ui/",
    "/favicon.ico",
    "/.env",
    "/console",
    "/api/files",
    "/api/files/",
    "/api/files/a/b",
    "/api/files/..%2f..%2fsecret.key",
    "/api/%00",
    "/api/user%0A",
    "/api/images/1%0A",
    "/api/images/%0A1",
    "/health/live%0A",
    "/%FF%FE",
    "/" + "x" * 10_000,
    "/api/images/" + "9" * 4299,
]


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
def test_unknown_route_returns_404(connection: RawConnection, path: str) -> None:
    """It does so for every method, and never redirects."""
    for method in ("GET", "POST", "OPTIONS", "HEAD", "DELETE"):
        response = connection.request(f"{method} {path} HTTP/1.1\nHost: x")
        assert response.status == 404, method
        assert "Location" not in response.headers
        if method != "HEAD":
            assert response.json == {"success": False, "message": "Not found."}


def test_unknown_route_returns_404_with_a_token(client: Client, jane: User) -> None:
    assert client.get("/api/nowhere", token=jane.token).status == 404


def test_request_id_of_the_client_is_ignored(client: Client) -> None:
    response = client.get("/health/live", headers={"X-Request-Id": "mine"})

    assert response.headers["X-Request-Id"] != "mine"


def test_account_data_is_not_cached(client: Client, jane: User) -> None:
    for path in ("/api/user", "/api/images", "/api/images/1"):
        assert "no-store" in client.get(path, token=jane.token).headers["Cache-Control"]
