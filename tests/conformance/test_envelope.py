from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.client import Transport
from conformance.envelope import contract_exchanges
from conformance.exchanges import Exchange
from conformance.redaction import Secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

BASE = "https://host/v1/api"


def seen(exchanges: Iterable[tuple[str, str, int | None]]) -> list[str]:
    transport = Transport(BASE, timeout=1, max_wait=1, secrets=Secrets())
    transport.exchanges = [
        Exchange(method, url, {}, b"", status, {}, b"", 0) for method, url, status in exchanges
    ]
    return [request for request, _ in contract_exchanges(transport)]


def test_documented_operations_are_yielded_with_any_status() -> None:
    exchanges = [
        ("GET", f"{BASE}/images?page=2", 200),
        ("DELETE", f"{BASE}/images/7", 404),
        ("PUT", f"{BASE}/user", 405),
    ]

    assert seen(exchanges) == ["GET /images", "DELETE /images/7", "PUT /user"]


def test_files_and_other_routes_are_not_yielded() -> None:
    others = [
        ("GET", f"{BASE}/files/abc?signature=1", 200),
        ("GET", "https://elsewhere/v1/api/images", 200),
        ("GET", f"{BASE}/images/7/original", 200),
        ("HEAD", f"{BASE}/images", 200),
        ("GET", f"{BASE}/images", None),
    ]

    assert seen(others) == []
