"""CORS: off unless the operator names origins; then for these alone, and in the envelope."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, Server, StartServer

OURS = "https://app.example"
THEIRS = "https://evil.example"


@pytest.fixture(scope="module")
def open_server(start_server: StartServer) -> Server:
    return start_server(cors_origins=f"https://other.example {OURS}")


@pytest.fixture
def browser(open_server: Server) -> Any:
    with open_server.client() as client:
        yield client


def preflight(client: Client, origin: str, method: str = "DELETE", headers: str = "authorization") -> Any:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return client.request("OPTIONS", "/api/images/1", headers=asked)


def test_a_preflight_of_a_named_origin_is_allowed_what_the_api_has(browser: Client) -> None:
    reply = preflight(browser, OURS)

    assert (reply.status, reply.json["success"]) == (200, True)
    assert reply.headers["Access-Control-Allow-Origin"] == OURS
    assert "DELETE" in reply.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in reply.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in reply.headers


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [(THEIRS, "GET", "authorization"), (OURS, "PUT", "authorization"), (OURS, "GET", "x-unheard-of")],
)
def test_any_other_preflight_is_refused_in_the_envelope(
    browser: Client, origin: str, method: str, headers: str
) -> None:
    reply = preflight(browser, origin, method, headers)

    assert (reply.status, reply.json["success"]) == (400, False)
    assert reply.headers.get("Access-Control-Allow-Origin") in {None, OURS}


# An error that a script cannot read is a riddle to whoever wrote it.
@pytest.mark.parametrize("path", ["/api/plans", "/api/user", "/api/nowhere", "/api//"])
def test_every_answer_can_be_read_by_a_page_of_a_named_origin(browser: Client, path: str) -> None:
    reply = browser.get(path, headers={"Origin": OURS})

    assert reply.headers["Access-Control-Allow-Origin"] == OURS
    assert "X-Request-Id" in reply.headers["Access-Control-Expose-Headers"]
    assert reply.headers["Vary"] == "Origin"


def test_pages_of_other_origins_cannot(browser: Client) -> None:
    assert "Access-Control-Allow-Origin" not in browser.get("/api/plans", headers={"Origin": THEIRS}).headers


def test_options_without_a_page_behind_it_is_a_method_like_any_other(browser: Client) -> None:
    assert browser.request("OPTIONS", "/api/user").status == 405


def test_a_star_opens_the_api_to_every_page(start_server: Callable[..., Server]) -> None:
    with start_server(cors_origins="*").client() as client:
        reply = client.get("/api/plans", headers={"Origin": THEIRS})

    assert reply.headers["Access-Control-Allow-Origin"] == "*"
