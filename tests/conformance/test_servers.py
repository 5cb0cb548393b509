"""Run the kit against conformant servers that differ from Uprez: it must report no failure."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Self

import pytest
import trustme
from run_kit import check_server, failures

from conformance.runner import Exit
from independent.server import Server


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="default"),
        pytest.param({"slow": 0.03}, id="slow", marks=pytest.mark.slow),
        pytest.param({"throttle": 10}, id="throttling", marks=pytest.mark.slow),
        pytest.param(
            {"throttle": 50, "retry_after": 1}, id="throttling for a second", marks=pytest.mark.slow
        ),
        pytest.param({"key_order": "reversed"}, id="reversed keys", marks=pytest.mark.slow),
        pytest.param({"extra": True}, id="more fields, headers and charsets", marks=pytest.mark.slow),
        pytest.param({"work_seconds": 0}, id="immediate results"),
        pytest.param({"work_seconds": 0.15}, id="slow results", marks=pytest.mark.slow),
    ],
)
def test_conformant_server_passes(options: dict[str, Any]) -> None:
    with Server(**options) as server:
        report = check_server(server)
        left = (server.images, server.batches, set(server.tokens_by_secret) - set(server.tokens))

    assert failures(report) == []
    assert report.exit is Exit.CONFORMANT
    assert left == ({}, {}, set())


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        pytest.param({}, 30, id="default", marks=pytest.mark.slow),
        pytest.param({"throttle": 10}, 1, id="throttling", marks=pytest.mark.slow),
    ],
)
def test_generated_requests_find_no_fault(options: dict[str, Any], seconds: float) -> None:
    with Server(**options) as server:
        report = check_server(server, profiles=("generated",), fuzz_seconds=seconds)

    assert failures(report) == []


class Secure(Server):
    """A server with a certificate of a private authority."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.context = context

    def __enter__(self) -> Self:
        super().__enter__()
        self.connections.socket = self.context.wrap_socket(self.connections.socket, server_side=True)
        self.base_url = self.base_url.replace("http://127.0.0.1", "https://localhost")
        return self


@pytest.mark.slow
def test_generated_requests_trust_the_ca_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    with Secure(context) as server:
        only = ("URL-001", "GEN-001", "GEN-003")
        report = check_server(server, only=only, ca_file=str(tmp_path / "ca.pem"), fuzz_seconds=1)

    assert failures(report) == []
    assert report.exit is Exit.CONFORMANT


def test_core_needs_one_token() -> None:
    with Server() as server:
        report = check_server(server, token_b=None, email=None, password=None, profiles=("core",))

    assert failures(report) == []
    assert report.exit is Exit.CONFORMANT


def test_read_only_run_creates_nothing() -> None:
    with Server() as server:
        before = dict(server.last_ids)
        check_server(server, read_only=True)

        assert server.last_ids == before
        assert set(server.tokens) <= set(server.tokens_by_secret)
