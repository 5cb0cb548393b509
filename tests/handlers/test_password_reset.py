"""Tests of /auth/resend-verification, forgot-password and reset-password."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING

import pytest

from domain import accounts

if TYPE_CHECKING:
    from domain.services import Services
    from tests.handlers.conftest import Client, MakeUser, Response, Server, StartServer, User

RESEND = "/api/auth/resend-verification"
FORGOT = "/api/auth/forgot-password"
RESET = "/api/auth/reset-password"
NEW = "New-Correct-Horse-10"


def mailed_token(client: Client, server: Server, user: User) -> str:
    assert client.post(FORGOT, json={"email": user.email}).status == 200
    text = server.mails_to(user.email)[-1]
    (token,) = re.findall(r"\S{80,}", text)
    return str(token)


def make_account(services: Services, password_hash: str, email: str) -> None:
    accounts.create(
        services, name="Jane", email=email, password_hash=password_hash, plan="free", device_name="tests"
    )


def form(user: User, token: str, password: str = NEW, **changes: object) -> dict[str, object]:
    return {
        "email": user.email,
        "token": token,
        "password": password,
        "password_confirmation": password,
        **changes,
    }


def observable(response: Response) -> tuple[int, bytes, list[str]]:
    return response.status, response.body, sorted(response.headers.keys())


@pytest.mark.parametrize("path", [RESEND, FORGOT])
def test_response_is_the_same_for_every_address(client: Client, make_user: MakeUser, path: str) -> None:
    addresses = [
        make_user().email,
        make_user(verified=False).email,
        make_user(plan="free").email.upper(),
        f"{secrets.token_hex(6)}@example.com",
        "no address",
        "jane@example.com\nBcc: all@example.com",
        "x" * 255,
    ]

    responses = [client.post(path, json={"email": address}) for address in addresses]

    assert responses[0].status == 200
    assert responses[0].json.keys() == {"success", "message"}
    assert all(observable(response) == observable(responses[0]) for response in responses)


def test_one_address_gets_at_most_five_mails(
    start_server: StartServer, valkey: str, password_hash: str
) -> None:
    """The shared server has no counters, so that this test needs its own."""
    server = start_server(limits_url=f"redis+{valkey}", unauthenticated_per_hour=1000)
    for email in ("flooded@example.com", "next@example.com"):
        make_account(server.services, password_hash, email)

    with server.client() as client:
        responses = [client.post(FORGOT, json={"email": "flooded@example.com"}) for _ in range(8)]
        client.post(FORGOT, json={"email": "next@example.com"})

    assert {(response.status, response.body) for response in responses} == {(200, responses[0].body)}
    server.mails_to("next@example.com")
    assert len(server.mails_to("flooded@example.com", count=5)) == 5


def test_resent_and_earlier_links_both_verify(client: Client, server: Server, make_user: MakeUser) -> None:
    waiting = make_user(verified=False)
    client.post(RESEND, json={"email": waiting.email})
    client.post(RESEND, json={"email": waiting.email})

    links = [
        re.findall(r"https?://\S+", text)[0].removeprefix(server.settings.origin)
        for text in server.mails_to(waiting.email, count=2)
    ]

    assert [client.get(link).status for link in links] == [200, 200]
    login = {"email": waiting.email, "password": waiting.password}
    assert client.post("/api/auth/login", json=login).status == 200


def test_reset_sets_the_password_and_revokes_all_tokens(
    client: Client, server: Server, make_user: MakeUser
) -> None:
    jane, other = make_user(), make_user()
    old = {"email": jane.email, "password": jane.password}
    phone = client.post("/api/auth/login", json=old).data["token"]
    token = mailed_token(client, server, jane)

    response = client.post(RESET, json=form(jane, token))

    assert response.json == {
        "success": True,
        "message": "Password reset successfully. All tokens are revoked.",
    }
    assert {client.get("/api/user", token=ended).status for ended in (jane.token, phone)} == {401}
    assert client.get("/api/user", token=other.token).status == 200
    assert client.post("/api/auth/login", json=old).status == 401
    assert client.post("/api/auth/login", json={**old, "password": NEW}).status == 200
    again = client.post(RESET, json=form(jane, token, "Another-Password-11"))
    assert again.errors == {"token": ["The token is invalid or has expired."]}


def test_reset_verifies_the_email(client: Client, server: Server, make_user: MakeUser) -> None:
    waiting = make_user(verified=False)
    client.post(RESET, json=form(waiting, mailed_token(client, server, waiting)))

    login = client.post("/api/auth/login", json={"email": waiting.email, "password": NEW})

    assert login.data["user"]["email_verified_at"] is not None


def test_useless_tokens_all_respond_alike(client: Client, server: Server, make_user: MakeUser) -> None:
    jane, other = make_user(), make_user()
    token = mailed_token(client, server, jane)

    responses = [
        client.post(RESET, json=form(jane, token[:-1] + ("A" if token[-1] != "A" else "B"))),
        client.post(RESET, json=form(other, token)),
        client.post(RESET, json=form(jane, token, email="unknown@example.com")),
        client.post(RESET, json=form(jane, token, email="no address")),
        client.post(RESET, json=form(jane, "x")),
    ]

    assert responses[0].errors == {"token": ["The token is invalid or has expired."]}
    assert all(observable(response) == observable(responses[0]) for response in responses)
    assert client.get("/api/user", token=jane.token).status == 200


def test_all_problems_of_a_reset_are_returned_at_once(client: Client, jane: User) -> None:
    response = client.post(RESET, json=form(jane, "x", "abc", password_confirmation="abd", remember=True))

    assert response.errors == {
        "remember": ["The remember field is not known."],
        "token": ["The token is invalid or has expired."],
        "password": [
            "The password must be at least 8 characters.",
            "The password must contain at least one uppercase and one lowercase letter.",
            "The password must contain at least one number.",
            "The password confirmation does not match.",
        ],
    }


REQUIRED = {
    RESEND: ["email"],
    FORGOT: ["email"],
    RESET: ["email", "password", "password_confirmation", "token"],
}


@pytest.mark.parametrize("path", REQUIRED)
def test_missing_or_invalid_field_is_returned(client: Client, path: str) -> None:
    required = REQUIRED[path]
    for body in ({}, dict.fromkeys(required, 7)):
        assert sorted(client.post(path, json=body).errors) == required
    assert "mail" in client.post(path, json={**dict.fromkeys(required, "x"), "mail": 1}).errors


@pytest.mark.parametrize("path", REQUIRED)
@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [
        ("text/plain", b'{"email": "x"}', 415),
        ("application/json", b"{", 400),
        ("application/json", b"[]", 422),
        ("application/json", json.dumps({"email": "x" * 70_000}).encode(), 413),
    ],
)
def test_malformed_or_large_body_is_rejected(
    client: Client, path: str, media_type: str, body: bytes, status: int
) -> None:
    assert client.post(path, data=body, headers={"Content-Type": media_type}).status == status
