"""Tests of CORS: off by default, and only for configured origins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, Server, StartServer

ALLOWED_ORIGIN = "https://app.example"
OTHER_ORIGIN = "https://evil.example"


@pytest.fixture(scope="module")
def open_server(start_server: StartServer) -> Server:
    return start_server(cors_origins=f"https://other.example {ALLOWED_ORIGIN}")


@pytest.fixture
def browser(open_server: Server) -> Any:
    with open_server.client() as client:
        yield client


def preflight(client: Client, origin: str, method: str = "DELETE", headers: str = "authorization") -> Any:
    preflight_headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return client.request("OPTIONS", "/api/images/1", headers=preflight_headers)


def test_preflight_of_an_allowed_origin_lists_methods(browser: Client) -> None:
    response = preflight(browser, ALLOWED_ORIGIN)

    assert (response.status, response.json["success"]) == (200, True)
    assert response.headers["Access-Control-Allow-Origin"] == ALLOWED_ORIGIN
    assert "DELETE" in response.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        (OTHER_ORIGIN, "GET", "authorization"),
        (ALLOWED_ORIGIN, "PUT", "authorization"),
        (ALLOWED_ORIGIN, "GET", "x-unknown"),
    ],
)
def test_any_other_preflight_returns_400_in_the_envelope(
    browser: Client, origin: str, method: str, headers: str
) -> None:
    response = preflight(browser, origin, method, headers)

    assert (response.status, response.json["success"]) == (400, False)
    assert response.headers.get("Access-Control-Allow-Origin") in {None, ALLOWED_ORIGIN}


# A script must be able to read errors too.
@pytest.mark.parametrize("path", ["/api/plans", "/api/user", "/api/nowhere", "/api//"])
def test_every_response_is_readable_by_an_allowed_origin(browser: Client, path: str) -> None:
    response = browser.get(path, headers={"Origin": ALLOWED_ORIGIN})

    assert response.headers["Access-Control-Allow-Origin"] == ALLOWED_ORIGIN
    assert "X-Request-Id" in response.headers["Access-Control-Expose-Headers"]
    assert response.headers["Vary"] == "Origin"


def test_response_to_another_origin_has_no_cors_header(browser: Client) -> None:
    assert (
        "Access-Control-Allow-Origin"
        not in browser.get("/api/plans", headers={"Origin": OTHER_ORIGIN}).headers
    )


def test_options_without_origin_returns_405(browser: Client) -> None:
    assert browser.request("OPTIONS", "/api/user").status == 405


def test_wildcard_allows_every_origin(start_server: Callable[..., Server]) -> None:
    with start_server(cors_origins="*").client() as client:
        response = client.get("/api/plans", headers={"Origin": OTHER_ORIGIN})

    assert response.headers["Access-Control-Allow-Origin"] == "*"
