"""Client address behind trusted proxies, as the rate limit counts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def proxied(start_server: Callable[..., Any], valkey: str) -> Any:
    """Return a server that trusts proxies on this machine."""
    return start_server(
        limits_url=f"redis+{valkey}",
        unauthenticated_per_hour=1000,
        trusted_proxies="127.0.0.1, 10.0.0.0/8, 2001:db8:ffff::/48",
    )


@pytest.fixture
def counted(valkey: str) -> Iterator[Callable[[], set[str]]]:
    """Provide a function that returns the addresses counted since the test began."""
    with Redis(unix_socket_path=valkey.removeprefix("unix://"), decode_responses=True) as client:
        client.flushall()
        yield lambda: {key.partition("address:")[2] for key in client.keys("*address:*")}


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        # The client may have forged everything to the left of its own address.
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("203.0.113.7,10.1.2.3 ,  127.0.0.1", "203.0.113.7"),
        ("203.0.113.7:54321", "203.0.113.7"),
        ("[2001:db8::7]:54321", "2001:db8::7"),
        # Spellings of an address count as one client.
        ("2001:DB8:0:0::0007", "2001:db8::7"),
        ("2001:db8::7, 2001:db8:ffff::1", "2001:db8::7"),
        ("10.1.2.3, 10.1.2.4", "10.1.2.3"),
        # Without a valid address, the proxy is counted.
        ("", LOOPBACK),
        (",", LOOPBACK),
        ("unknown", LOOPBACK),
        ("203.0.113.7, _hidden", LOOPBACK),
        ("203.0.113.999", LOOPBACK),
        ("203.0.113.7\t10", LOOPBACK),
        ("é" * 300, LOOPBACK),
        ("<script>", LOOPBACK),
    ],
)
def test_client_is_the_right_most_untrusted_address(
    proxied: Any, counted: Callable[[], set[str]], forwarded: str, client: str
) -> None:
    with proxied.client() as http:
        response = http.get("/api/plans", headers={"X-Forwarded-For": forwarded.encode()})

    assert response.status == 200
    assert counted() == {client}


def test_several_header_lines_are_one_list(proxied: Any, counted: Callable[[], set[str]]) -> None:
    with proxied.connect() as connection:
        connection.request(
            "GET /api/plans HTTP/1.1\n"
            "Host: example.com\n"
            "X-Forwarded-For: 203.0.113.7\n"
            "X-Forwarded-For: 203.0.113.8\n"
            "X-Forwarded-For: 10.0.0.1"
        )

    assert counted() == {"203.0.113.8"}


def test_failed_logins_are_counted_by_client_address(proxied: Any, valkey: str) -> None:
    login = {"email": "unknown@example.com", "password": "Wrong-Horse-1"}

    def statuses(address: str, times: int) -> list[int]:
        with proxied.client() as http:
            headers = {"X-Forwarded-For": address}
            return [http.post("/api/auth/login", json=login, headers=headers).status for _ in range(times)]

    assert statuses("203.0.113.50", 11) == [401] * 10 + [429]
    assert statuses("203.0.113.51", 1) == [401]


@pytest.mark.parametrize(
    ("scheme", "links"), [("https", "https"), ("http", "http"), ("gopher", "http"), ("https,http", "http")]
)
def test_links_have_the_forwarded_scheme(
    proxied: Any, make_owner: Callable[..., Any], scheme: str, links: str
) -> None:
    email = f"{scheme.replace(',', '-')}@example.com"
    token = make_owner(proxied.services, email=email).token
    headers = {"Host": "images.example.com", "X-Forwarded-Proto": scheme}
    with proxied.client() as http:
        user = http.get("/api/user", token=token, headers=headers).data

    assert user["profile_photo_url"].startswith(f"{links}://images.example.com/")


def test_forwarded_host_is_always_ignored(proxied: Any, make_owner: Callable[..., Any]) -> None:
    token = make_owner(proxied.services, email="host@example.com").token
    headers = {"Host": "images.example.com", "X-Forwarded-Host": "evil.example"}
    with proxied.client() as http:
        user = http.get("/api/user", token=token, headers=headers).data

    assert user["profile_photo_url"].startswith("http://images.example.com/")


# Otherwise a client could forge a new address for each request.
@pytest.mark.parametrize("trusted", [None, "10.0.0.0/8, 192.0.2.1"])
def test_headers_of_untrusted_peers_are_ignored(
    start_server: Callable[..., Any],
    make_owner: Callable[..., Any],
    valkey: str,
    counted: Callable[[], set[str]],
    trusted: str | None,
) -> None:
    server = start_server(limits_url=f"redis+{valkey}", trusted_proxies=trusted)
    token = make_owner(server.services).token
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    with server.client() as http:
        http.get("/api/plans", headers=headers)
        user = http.get("/api/user", token=token, headers=headers).data

    assert counted() == {LOOPBACK}
    assert user["profile_photo_url"].startswith("http://")
