"""/auth/resend-verification, forgot-password and reset-password: mail that anybody can ask for."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING

import pytest

from domain import accounts

if TYPE_CHECKING:
    from domain.services import Services
    from tests.handlers.conftest import Client, MakePerson, Person, Reply, Server, StartServer

RESEND = "/api/auth/resend-verification"
FORGOT = "/api/auth/forgot-password"
RESET = "/api/auth/reset-password"
NEW = "New-Correct-Horse-10"


def mailed_token(client: Client, server: Server, person: Person) -> str:
    assert client.post(FORGOT, json={"email": person.email}).status == 200
    text = server.mails_to(person.email)[-1]
    (token,) = re.findall(r"\S{80,}", text)
    return str(token)


def make_account(services: Services, password_hash: str, email: str) -> None:
    accounts.create(
        services, name="Jane", email=email, password_hash=password_hash, plan="free", device_name="tests"
    )


def form(person: Person, token: str, password: str = NEW, **changes: object) -> dict[str, object]:
    return {
        "email": person.email,
        "token": token,
        "password": password,
        "password_confirmation": password,
        **changes,
    }


def told(reply: Reply) -> tuple[int, bytes, list[str]]:
    return reply.status, reply.body, sorted(reply.headers.keys())


@pytest.mark.parametrize("path", [RESEND, FORGOT])
def test_the_answer_is_the_same_whoever_asks(client: Client, person: MakePerson, path: str) -> None:
    addresses = [
        person().email,
        person(verified=False).email,
        person(plan="free").email.upper(),
        f"{secrets.token_hex(6)}@example.com",
        "no address",
        "jane@example.com\nBcc: all@example.com",
        "x" * 255,
    ]

    replies = [client.post(path, json={"email": address}) for address in addresses]

    assert replies[0].status == 200
    assert replies[0].json.keys() == {"success", "message"}
    assert all(told(reply) == told(replies[0]) for reply in replies)


def test_a_mailbox_gets_five_mails_and_no_more_whatever_is_answered(
    start_server: StartServer, valkey: str, password_hash: str
) -> None:
    """The shared server has no counters; without them mail leaves."""
    server = start_server(limits_url=f"redis+{valkey}", unauthenticated_per_hour=1000)
    for email in ("flooded@example.com", "next@example.com"):
        make_account(server.services, password_hash, email)

    with server.client() as client:
        replies = [client.post(FORGOT, json={"email": "flooded@example.com"}) for _ in range(8)]
        client.post(FORGOT, json={"email": "next@example.com"})

    assert {(reply.status, reply.body) for reply in replies} == {(200, replies[0].body)}
    server.mails_to("next@example.com")
    assert len(server.mails_to("flooded@example.com", count=5)) == 5


def test_a_resent_link_verifies_and_an_earlier_one_still_does(
    client: Client, server: Server, person: MakePerson
) -> None:
    waiting = person(verified=False)
    client.post(RESEND, json={"email": waiting.email})
    client.post(RESEND, json={"email": waiting.email})

    links = [
        re.findall(r"https?://\S+", text)[0].removeprefix(server.settings.origin)
        for text in server.mails_to(waiting.email, count=2)
    ]

    assert [client.get(link).status for link in links] == [200, 200]
    login = {"email": waiting.email, "password": waiting.password}
    assert client.post("/api/auth/login", json=login).status == 200


def test_a_mailed_token_sets_a_new_password_and_ends_all_tokens(
    client: Client, server: Server, person: MakePerson
) -> None:
    jane, other = person(), person()
    old = {"email": jane.email, "password": jane.password}
    phone = client.post("/api/auth/login", json=old).data["token"]
    token = mailed_token(client, server, jane)

    reply = client.post(RESET, json=form(jane, token))

    assert reply.json == {"success": True, "message": "Password reset successfully. All tokens are revoked."}
    assert {client.get("/api/user", token=ended).status for ended in (jane.token, phone)} == {401}
    assert client.get("/api/user", token=other.token).status == 200
    assert client.post("/api/auth/login", json=old).status == 401
    assert client.post("/api/auth/login", json={**old, "password": NEW}).status == 200
    again = client.post(RESET, json=form(jane, token, "Another-Password-11"))
    assert again.errors == {"token": ["The token is invalid or has expired."]}


def test_whoever_never_opened_the_first_link_is_verified_by_the_token(
    client: Client, server: Server, person: MakePerson
) -> None:
    waiting = person(verified=False)
    client.post(RESET, json=form(waiting, mailed_token(client, server, waiting)))

    login = client.post("/api/auth/login", json={"email": waiting.email, "password": NEW})

    assert login.data["user"]["email_verified_at"] is not None


def test_a_token_that_is_of_no_use_is_answered_alike_for_everybody(
    client: Client, server: Server, person: MakePerson
) -> None:
    jane, other = person(), person()
    token = mailed_token(client, server, jane)

    replies = [
        client.post(RESET, json=form(jane, token[:-1] + ("A" if token[-1] != "A" else "B"))),
        client.post(RESET, json=form(other, token)),
        client.post(RESET, json=form(jane, token, email="nobody@example.com")),
        client.post(RESET, json=form(jane, token, email="no address")),
        client.post(RESET, json=form(jane, "x")),
    ]

    assert replies[0].errors == {"token": ["The token is invalid or has expired."]}
    assert all(told(reply) == told(replies[0]) for reply in replies)
    assert client.get("/api/user", token=jane.token).status == 200


def test_everything_that_is_wrong_with_a_reset_is_named_at_once(client: Client, jane: Person) -> None:
    reply = client.post(RESET, json=form(jane, "x", "abc", password_confirmation="abd", remember=True))

    assert reply.errors == {
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
def test_each_field_that_is_missing_or_wrong_is_named(client: Client, path: str) -> None:
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
def test_what_is_no_json_object_of_fair_size_is_refused(
    client: Client, path: str, media_type: str, body: bytes, status: int
) -> None:
    assert client.post(path, data=body, headers={"Content-Type": media_type}).status == status
