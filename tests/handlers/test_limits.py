"""Hourly limit and failed logins, with a real Valkey and several API processes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

StartServer = Callable[..., Any]


@pytest.fixture
def start_limited_server(start_server: Callable[..., Any], valkey: str) -> StartServer:
    """Return a function that starts a server with counters in Valkey, which are zero."""
    with Redis(unix_socket_path=valkey.removeprefix("unix://")) as client:
        client.flushall()
    return lambda **options: start_server(limits_url=f"redis+{valkey}", **options)


@pytest.fixture
def tiny_plans(tmp_path: Path) -> Path:
    """Return a plans file with 40 requests an hour and without API access."""
    plan = """
        [[plans]]
        id = {id}
        name = "{slug}"
        slug = "{slug}"
        price = 0
        requests_per_hour = 40
        images_per_month = 2
        max_scale = 4
        features = []
    """
    path = tmp_path / "plans.toml"
    path.write_text(plan.format(id=1, slug="free") + plan.format(id=4, slug="enterprise"))
    return path


def test_anonymous_clients_share_the_limit_of_their_address(
    start_limited_server: StartServer,
) -> None:
    server = start_limited_server(unauthenticated_per_hour=3)
    login = {"email": "unknown@example.com", "password": "Wrong-Horse-1"}
    with server.client() as client:
        responses = [
            client.get("/api/user"),
            client.get("/api/user", token="1|wrong"),
            client.post("/api/auth/login", json=login),
            client.get("/api/user"),
            client.post("/api/auth/login", json=login),
        ]

    assert [response.status for response in responses] == [401, 401, 401, 429, 429]
    assert [response.headers["RateLimit"].split(";")[1] for response in responses] == [
        "r=2",
        "r=1",
        "r=0",
        "r=0",
        "r=0",
    ]
    assert {response.headers["RateLimit-Policy"] for response in responses} == {'"hour";q=3;w=3600'}
    assert 3590 <= int(responses[-1].headers["Retry-After"]) <= 3600
    assert re.fullmatch(r'"hour";r=0;t=3\d{3}', responses[-1].headers["RateLimit"])


def test_account_has_its_own_limit_and_signed_links_are_free(
    start_limited_server: StartServer, make_owner: Callable[..., Any]
) -> None:
    server = start_limited_server(unauthenticated_per_hour=1)
    jane = make_owner(server.services)
    with server.client() as client:
        assert client.get("/api/user").status == 401
        for _ in range(3):
            assert client.get("/api/files/changed").status == 403
            assert client.get("/api/auth/verify-email/1/changed").status == 403
            assert client.get("/api/profile-photos/JS").status == 200
        assert client.get("/api/nowhere").status == 404
        assert client.get("/api/user").status == 429
        response = client.get("/api/user", token=jane.token)

    assert response.status == 200
    assert response.headers["RateLimit"].startswith('"hour";r=9999;')


def test_valid_token_is_counted_by_account_on_public_operations(
    start_limited_server: StartServer, make_owner: Callable[..., Any]
) -> None:
    server = start_limited_server(unauthenticated_per_hour=1)
    jane = make_owner(server.services)
    with server.client() as client:
        mine = [client.get("/api/plans", token=jane.token) for _ in range(3)]
        anonymous = [client.get("/api/plans", token=token).status for token in (None, "1|wrong")]

    assert [response.status for response in mine] == [200, 200, 200]
    assert mine[-1].headers["RateLimit"].startswith('"hour";r=9997;')
    assert anonymous == [200, 429]


def test_rate_limit_is_applied_before_authorization(
    start_limited_server: StartServer, make_owner: Callable[..., Any], tiny_plans: Path
) -> None:
    server = start_limited_server(plans_file=tiny_plans)
    jane = make_owner(server.services)
    with server.client() as client:
        results = [client.get("/api/images", token=jane.token).status for _ in range(41)]

    assert results == [403] * 40 + [429]


def test_two_api_processes_share_the_limit(
    start_limited_server: StartServer, make_owner: Callable[..., Any], tiny_plans: Path
) -> None:
    server = start_limited_server(plans_file=tiny_plans, api_processes=2)
    jane = make_owner(server.services)

    def get_user_status(_number: int) -> int:
        with server.client() as client:
            status: int = client.get("/api/user", token=jane.token).status
            return status

    with ThreadPoolExecutor(8) as threads:
        results = Counter(threads.map(get_user_status, range(100)))

    assert results == {200: 40, 429: 60}


def test_failed_logins_block_the_right_password_with_429(
    start_limited_server: StartServer, make_owner: Callable[..., Any]
) -> None:
    server = start_limited_server(unauthenticated_per_hour=1000)
    jane = make_owner(server.services)
    with server.client() as client:
        for _ in range(10):
            wrong = client.post("/api/auth/login", json={"email": jane.email, "password": "Wrong-Horse-1"})
            assert wrong.status == 401
        right = client.post("/api/auth/login", json={"email": jane.email, "password": jane.password})

    assert right.status == 429
    assert right.json["message"] == "Too many failed logins. Try again later."
    assert 1 <= int(right.headers["Retry-After"]) <= 300


def test_api_works_without_counters_and_limit_headers(client: Any) -> None:
    response = client.get("/api/user")

    assert response.status == 401
    assert "RateLimit" not in response.headers


# Mail can be requested for the address of another person.
def test_mail_is_limited_without_counters(start_server: Callable[..., Any]) -> None:
    server = start_server()
    form = {
        "name": "Jane",
        "email": "jane@example.com",
        "password": "Correct-Horse-9",
        "password_confirmation": "Correct-Horse-9",
    }
    with server.client() as client:
        assert client.post("/api/auth/register", json=form).status == 201
        for _ in range(8):
            response = client.post("/api/auth/resend-verification", json={"email": form["email"]})
            assert response.status == 200
    server.process.terminate()  # queued mail is sent
    assert server.process.wait(server.settings.stop_seconds) == 0

    assert len(server.mails_to(form["email"])) == 5
