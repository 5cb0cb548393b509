"""Tests of the health checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client


@pytest.mark.parametrize(("path", "message"), [("/health/live", "Alive"), ("/health/ready", "Ready")])
def test_health_needs_no_token(client: Client, path: str, message: str) -> None:
    """The broker of this server is down, which must not matter."""
    response = client.get(path)

    assert (response.status, response.json) == (200, {"success": True, "message": message})


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_health_has_no_other_methods(client: Client, path: str, method: str) -> None:
    response = client.request(method, path)

    assert response.status == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD"}
