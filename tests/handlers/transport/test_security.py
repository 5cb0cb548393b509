"""Who may do what: tokens, abilities, standing; each lack answered in its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, MakePerson, Person, Wire

PROTECTED = [
    ("POST", "/api/auth/logout"),
    ("POST", "/api/auth/revoke-all"),
    ("POST", "/api/images/upscale"),
    ("GET", "/api/images"),
    ("GET", "/api/images/1"),
    ("DELETE", "/api/images/1"),
    ("GET", "/api/images/1/download"),
    ("GET", "/api/user"),
    ("GET", "/api/user/tokens"),
    ("POST", "/api/user/tokens"),
    ("DELETE", "/api/user/tokens/1"),
    ("GET", "/api/usage"),
]
OF_IMAGES = [operation for operation in PROTECTED if operation[1].startswith("/api/images")]
ABILITY = {
    ("POST", "/api/images/upscale"): "images:write",
    ("GET", "/api/images"): "images:read",
    ("GET", "/api/images/1"): "images:read",
    ("DELETE", "/api/images/1"): "images:delete",
    ("GET", "/api/images/1/download"): "images:read",
    ("GET", "/api/user"): "user:read",
    ("GET", "/api/user/tokens"): "user:read",
    ("POST", "/api/user/tokens"): "user:read",
    ("DELETE", "/api/user/tokens/1"): "user:read",
    ("GET", "/api/usage"): "user:read",
}
ALL = ("images:read", "images:write", "images:delete", "user:read")


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_nobody_gets_in_without_a_token(client: Client, method: str, path: str) -> None:
    reply = client.request(method, path)

    assert (reply.status, reply.message) == (401, "Unauthenticated.")
    assert reply.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_that_is_not_quite_right_is_as_good_as_none(client: Client, jane: Person) -> None:
    number, _, secret = jane.token.partition("|")
    none = client.get("/api/user")
    for wrong in (
        "",
        " ",
        "x",
        secret,
        f"|{secret}",
        f"{number}|",
        f"{number}|{secret[:-1]}",
        f"{number}|{secret}0",
        f"{number}|{secret.upper()}",
        f"{number}|{secret[::-1]}",
        f"{number}|{'A' if secret[0] != 'A' else 'B'}{secret[1:]}",
        f"0{number}|{secret}",
        f"+{number}|{secret}",
        f"{int(number) + 1}|{secret}",
        f"{2**63}|{secret}",
        f"{'9' * 5000}|{secret}",
        f"{number}|{secret} x",
        f"{number}||{secret}",
        f"{number}%7C{secret}",
        "1' OR '1'='1",
    ):
        reply = client.get("/api/user", headers={"Authorization": f"Bearer {wrong}"})
        assert (reply.status, reply.body) == (401, none.body), wrong


@pytest.mark.parametrize("scheme", ["Basic", "Token", "Bear", "Bearer:", "Digest"])
def test_another_scheme_is_no_token(client: Client, jane: Person, scheme: str) -> None:
    assert client.get("/api/user", headers={"Authorization": f"{scheme} {jane.token}"}).status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_be_written_in_any_case(client: Client, jane: Person, scheme: str) -> None:
    assert client.get("/api/user", headers={"Authorization": f"{scheme} {jane.token}"}).status == 200


def test_a_token_in_the_address_or_in_a_cookie_is_none(client: Client, jane: Person) -> None:
    assert client.get(f"/api/user?token={jane.token}&access_token={jane.token}").status == 401
    assert client.get("/api/user", headers={"Cookie": f"Authorization=Bearer {jane.token}"}).status == 401


def test_bytes_that_are_no_text_are_no_token(wire: Wire) -> None:
    reply = wire.ask("GET /api/user HTTP/1.1\nHost: x\nAuthorization: Bearer \xff\xfe|\xe9")

    assert reply.status == 401


@pytest.mark.parametrize(("method", "path"), ABILITY)
def test_the_missing_ability_is_named_first(
    client: Client, person: MakePerson, method: str, path: str
) -> None:
    """Also for an account that lacks everything else, and for an image that does not exist."""
    others = [ability for ability in ALL if ability != ABILITY[method, path]]
    for weak in (person(abilities=others), person(abilities=(), verified=False, plan="free")):
        reply = client.request(method, path, token=weak.token)

        assert reply.status == 403
        assert reply.message == "This token does not have the ability that this operation needs."


@pytest.mark.parametrize(("method", "path"), OF_IMAGES)
def test_an_address_that_is_not_verified_comes_before_the_plan(
    client: Client, person: MakePerson, method: str, path: str
) -> None:
    for plan in ("free", "enterprise"):
        reply = client.request(method, path, token=person(verified=False, plan=plan).token)

        assert (reply.status, reply.message) == (403, "Your email address is not verified.")


@pytest.mark.parametrize(("method", "path"), OF_IMAGES)
def test_a_plan_without_api_access_has_no_image_operations(
    client: Client, person: MakePerson, method: str, path: str
) -> None:
    reply = client.request(method, path, token=person(plan="free").token)

    assert (reply.status, reply.message) == (403, "Your plan does not include API access.")
    assert reply.headers["X-RateLimit-Limit"] == "2"
    assert reply.headers["X-RateLimit-Remaining"] == "2"


def test_one_ability_is_enough_for_what_it_is_about(client: Client, person: MakePerson, png: bytes) -> None:
    reader = person(abilities=["images:read"])
    writer = person(abilities=["images:write"])
    deleter = person(abilities=["images:delete"])

    assert client.get("/api/images", token=reader.token).status == 200
    assert client.upload(writer.token, png).status == 202
    assert client.delete("/api/images/9007199254740991", token=deleter.token).status == 404
    assert client.upload(reader.token, png).status == 403
    assert client.get("/api/images", token=writer.token).status == 403


def test_the_account_can_be_read_on_every_plan_and_before_it_is_verified(
    client: Client, person: MakePerson
) -> None:
    unverified = person(verified=False, plan="free")

    reply = client.get("/api/user", token=unverified.token)

    assert reply.status == 200
    assert reply.data["email"] == unverified.email
