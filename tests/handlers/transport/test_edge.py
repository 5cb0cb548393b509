"""What holds for every answer of every kind, wherever the request leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, Person, Wire

UNKNOWN = [
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


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_route_is_not_found(wire: Wire, path: str) -> None:
    """With whatever method, and never a redirect."""
    for method in ("GET", "POST", "OPTIONS", "HEAD", "DELETE"):
        reply = wire.ask(f"{method} {path} HTTP/1.1\nHost: x")
        assert reply.status == 404, method
        assert "Location" not in reply.headers
        if method != "HEAD":
            assert reply.json == {"success": False, "message": "Not found."}


def test_an_unknown_route_is_unknown_to_those_with_a_token_too(client: Client, jane: Person) -> None:
    assert client.get("/api/nowhere", token=jane.token).status == 404


def test_what_a_client_says_about_the_request_id_is_not_repeated(client: Client) -> None:
    reply = client.get("/health/live", headers={"X-Request-Id": "mine"})

    assert reply.headers["X-Request-Id"] != "mine"


def test_nothing_of_an_account_is_kept_by_caches(client: Client, jane: Person) -> None:
    for path in ("/api/user", "/api/images", "/api/images/1"):
        assert "no-store" in client.get(path, token=jane.token).headers["Cache-Control"]
