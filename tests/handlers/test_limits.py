"""The hourly limit and failed logins, as clients meet them: a real Valkey, and as many API processes as it takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

Strict = Callable[..., Any]


@pytest.fixture
def strict_server(start_server: Callable[..., Any], valkey: str) -> Strict:
    """A server whose counters are within reach, and at zero."""
    with Redis(unix_socket_path=valkey.removeprefix("unix://")) as client:
        client.flushall()
    return lambda **options: start_server(limits_url=f"redis+{valkey}", **options)


@pytest.fixture
def tiny_plans(tmp_path: Path) -> Path:
    """The plans that accounts of these tests are on, without API access and with 40 requests an hour."""
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


def test_strangers_share_what_their_address_has_wrong_tokens_included(strict_server: Strict) -> None:
    server = strict_server(unauthenticated_per_hour=3)
    login = {"email": "nobody@example.com", "password": "Wrong-Horse-1"}
    with server.client() as client:
        replies = [
            client.get("/api/user"),
            client.get("/api/user", token="1|wrong"),
            client.post("/api/auth/login", json=login),
            client.get("/api/user"),
            client.post("/api/auth/login", json=login),
        ]

    assert [reply.status for reply in replies] == [401, 401, 401, 429, 429]
    assert [reply.headers["RateLimit"].split(";")[1] for reply in replies] == [
        "r=2",
        "r=1",
        "r=0",
        "r=0",
        "r=0",
    ]
    assert {reply.headers["RateLimit-Policy"] for reply in replies} == {'"hour";q=3;w=3600'}
    assert 3590 <= int(replies[-1].headers["Retry-After"]) <= 3600
    assert re.fullmatch(r'"hour";r=0;t=3\d{3}', replies[-1].headers["RateLimit"])


def test_an_account_has_its_own_and_signed_links_cost_nothing(
    strict_server: Strict, make_owner: Callable[..., Any]
) -> None:
    server = strict_server(unauthenticated_per_hour=1)
    jane = make_owner(server.services)
    with server.client() as client:
        assert client.get("/api/user").status == 401
        for _ in range(3):
            assert client.get("/api/files/changed").status == 403
            assert client.get("/api/auth/verify-email/1/changed").status == 403
            assert client.get("/api/profile-photos/JS").status == 200
        assert client.get("/api/nowhere").status == 404
        assert client.get("/api/user").status == 429
        reply = client.get("/api/user", token=jane.token)

    assert reply.status == 200
    assert reply.headers["RateLimit"].startswith('"hour";r=9999;')


def test_whoever_brings_a_valid_token_is_no_stranger_where_none_is_needed(
    strict_server: Strict, make_owner: Callable[..., Any]
) -> None:
    server = strict_server(unauthenticated_per_hour=1)
    jane = make_owner(server.services)
    with server.client() as client:
        mine = [client.get("/api/plans", token=jane.token) for _ in range(3)]
        strangers = [client.get("/api/plans", token=token).status for token in (None, "1|wrong")]

    assert [reply.status for reply in mine] == [200, 200, 200]
    assert mine[-1].headers["RateLimit"].startswith('"hour";r=9997;')
    assert strangers == [200, 429]


# The refusal for the limit comes before the one for what the account may not do.
def test_the_limit_goes_before_what_is_forbidden(
    strict_server: Strict, make_owner: Callable[..., Any], tiny_plans: Path
) -> None:
    server = strict_server(plans_file=tiny_plans)
    jane = make_owner(server.services)
    with server.client() as client:
        answers = [client.get("/api/images", token=jane.token).status for _ in range(41)]

    assert answers == [403] * 40 + [429]


def test_two_api_processes_admit_exactly_the_number(
    strict_server: Strict, make_owner: Callable[..., Any], tiny_plans: Path
) -> None:
    server = strict_server(plans_file=tiny_plans, api_processes=2)
    jane = make_owner(server.services)

    def ask(_number: int) -> int:
        with server.client() as client:
            status: int = client.get("/api/user", token=jane.token).status
            return status

    with ThreadPoolExecutor(8) as threads:
        answers = Counter(threads.map(ask, range(100)))

    assert answers == {200: 40, 429: 60}


def test_guessing_passwords_ends_with_429_for_the_right_one_as_well(
    strict_server: Strict, make_owner: Callable[..., Any]
) -> None:
    server = strict_server(unauthenticated_per_hour=1000)
    jane = make_owner(server.services)
    with server.client() as client:
        for _ in range(10):
            wrong = client.post("/api/auth/login", json={"email": jane.email, "password": "Wrong-Horse-1"})
            assert wrong.status == 401
        right = client.post("/api/auth/login", json={"email": jane.email, "password": jane.password})

    assert right.status == 429
    assert right.json["message"] == "Too many failed logins. Try again later."
    assert 1 <= int(right.headers["Retry-After"]) <= 300


def test_without_its_counters_the_api_answers_and_says_nothing_of_limits(client: Any) -> None:
    reply = client.get("/api/user")

    assert reply.status == 401
    assert "RateLimit" not in reply.headers


# They go to people who never asked for them.
def test_without_its_counters_the_api_still_counts_mail(start_server: Callable[..., Any]) -> None:
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
            reply = client.post("/api/auth/resend-verification", json={"email": form["email"]})
            assert reply.status == 200
    server.process.terminate()  # what waits is sent
    assert server.process.wait(server.settings.stop_seconds) == 0

    assert len(server.mails_to(form["email"])) == 5
