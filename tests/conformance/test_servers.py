"""No false alarms: a server that keeps the contract passes, however it differs from Uprez otherwise."""

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
    "manners",
    [
        pytest.param({}, id="plain"),
        pytest.param({"slow": 0.03}, id="slow"),
        pytest.param({"throttle": 10}, id="throttling"),
        pytest.param({"throttle": 50, "retry_after": 1}, id="throttling for a second"),
        pytest.param({"key_order": "reversed"}, id="other order of keys"),
        pytest.param({"extra": True}, id="more fields, headers and charsets"),
        pytest.param({"work_seconds": 0}, id="at once"),
        pytest.param({"work_seconds": 0.15}, id="at leisure"),
    ],
)
def test_a_server_that_keeps_the_contract_passes(manners: dict[str, Any]) -> None:
    with Server(**manners) as server:
        found = check_server(server)
        left = (server.images, server.batches, set(server.tokens_by_secret) - set(server.tokens))

    assert failures(found) == []
    assert found.exit is Exit.CONFORMANT
    assert left == ({}, {}, set())


@pytest.mark.parametrize(
    ("manners", "seconds"),
    [
        pytest.param({}, 30, id="plain"),
        pytest.param({"throttle": 10}, 1, id="throttling"),
    ],
)
def test_generated_requests_find_nothing_either(manners: dict[str, Any], seconds: float) -> None:
    with Server(**manners) as server:
        found = check_server(server, profiles=("generated",), fuzz_seconds=seconds)

    assert failures(found) == []


class Secure(Server):
    """With a certificate of an authority of its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.context = context

    def __enter__(self) -> Self:
        super().__enter__()
        self.connections.socket = self.context.wrap_socket(self.connections.socket, server_side=True)
        self.base_url = self.base_url.replace("http://127.0.0.1", "https://localhost")
        return self


def test_an_authority_of_ones_own_is_trusted_by_generated_requests_too(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    with Secure(context) as server:
        only = ("URL-001", "GEN-001", "GEN-003")
        found = check_server(server, only=only, ca_file=str(tmp_path / "ca.pem"), fuzz_seconds=1)

    assert failures(found) == []
    assert found.exit is Exit.CONFORMANT


def test_core_asks_for_one_token_and_no_more() -> None:
    with Server() as server:
        found = check_server(server, token_b=None, email=None, password=None, profiles=("core",))

    assert failures(found) == []
    assert found.exit is Exit.CONFORMANT


def test_a_read_only_run_makes_nothing() -> None:
    with Server() as server:
        before = dict(server.last_ids)
        check_server(server, read_only=True)

        assert server.last_ids == before
        assert set(server.tokens) <= set(server.tokens_by_secret)
