"""For operators: alive, and ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client


@pytest.mark.parametrize(("path", "message"), [("/health/live", "Alive"), ("/health/ready", "Ready")])
def test_health_needs_no_token_and_tells_nothing(client: Client, path: str, message: str) -> None:
    """The broker of this server is down, which is no outage."""
    reply = client.get(path)

    assert (reply.status, reply.json) == (200, {"success": True, "message": message})


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_health_is_only_looked_at(client: Client, path: str, method: str) -> None:
    reply = client.request(method, path)

    assert reply.status == 405
    assert set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD"}
