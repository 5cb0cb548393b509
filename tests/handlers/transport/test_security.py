"""Authentication and authorization: tokens, abilities, verified email, plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, MakeUser, RawConnection, User

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
IMAGE_OPERATIONS = [operation for operation in PROTECTED if operation[1].startswith("/api/images")]
REQUIRED_ABILITY = {
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
def test_request_without_token_returns_401(client: Client, method: str, path: str) -> None:
    response = client.request(method, path)

    assert (response.status, response.message) == (401, "Unauthenticated.")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_altered_tokens_return_401(client: Client, jane: User) -> None:
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
        response = client.get("/api/user", headers={"Authorization": f"Bearer {wrong}"})
        assert (response.status, response.body) == (401, none.body), wrong


@pytest.mark.parametrize("scheme", ["Basic", "Token", "Bear", "Bearer:", "Digest"])
def test_other_scheme_returns_401(client: Client, jane: User, scheme: str) -> None:
    assert client.get("/api/user", headers={"Authorization": f"{scheme} {jane.token}"}).status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_is_case_insensitive(client: Client, jane: User, scheme: str) -> None:
    assert client.get("/api/user", headers={"Authorization": f"{scheme} {jane.token}"}).status == 200


def test_token_in_url_or_cookie_returns_401(client: Client, jane: User) -> None:
    assert client.get(f"/api/user?token={jane.token}&access_token={jane.token}").status == 401
    assert client.get("/api/user", headers={"Cookie": f"Authorization=Bearer {jane.token}"}).status == 401


def test_non_ascii_token_returns_401(connection: RawConnection) -> None:
    response = connection.request("GET /api/user HTTP/1.1\nHost: x\nAuthorization: Bearer \xff\xfe|\xe9")

    assert response.status == 401


@pytest.mark.parametrize(("method", "path"), REQUIRED_ABILITY)
def test_missing_ability_is_reported_first(
    client: Client, make_user: MakeUser, method: str, path: str
) -> None:
    """The account may lack everything else too, and the image may not exist."""
    others = [ability for ability in ALL if ability != REQUIRED_ABILITY[method, path]]
    for weak in (make_user(abilities=others), make_user(abilities=(), verified=False, plan="free")):
        response = client.request(method, path, token=weak.token)

        assert response.status == 403
        assert response.message == "This token does not have the ability that this operation needs."


@pytest.mark.parametrize(("method", "path"), IMAGE_OPERATIONS)
def test_unverified_email_is_reported_before_the_plan(
    client: Client, make_user: MakeUser, method: str, path: str
) -> None:
    for plan in ("free", "enterprise"):
        response = client.request(method, path, token=make_user(verified=False, plan=plan).token)

        assert (response.status, response.message) == (403, "Your email address is not verified.")


@pytest.mark.parametrize(("method", "path"), IMAGE_OPERATIONS)
def test_plan_without_api_access_denies_image_operations(
    client: Client, make_user: MakeUser, method: str, path: str
) -> None:
    response = client.request(method, path, token=make_user(plan="free").token)

    assert (response.status, response.message) == (403, "Your plan does not include API access.")
    assert response.headers["X-RateLimit-Limit"] == "2"
    assert response.headers["X-RateLimit-Remaining"] == "2"


def test_each_ability_allows_its_operations(client: Client, make_user: MakeUser, png: bytes) -> None:
    reader = make_user(abilities=["images:read"])
    writer = make_user(abilities=["images:write"])
    deleter = make_user(abilities=["images:delete"])

    assert client.get("/api/images", token=reader.token).status == 200
    assert client.upload(writer.token, png).status == 202
    assert client.delete("/api/images/9007199254740991", token=deleter.token).status == 404
    assert client.upload(reader.token, png).status == 403
    assert client.get("/api/images", token=writer.token).status == 403


def test_account_is_readable_on_every_plan_and_unverified(client: Client, make_user: MakeUser) -> None:
    unverified = make_user(verified=False, plan="free")

    response = client.get("/api/user", token=unverified.token)

    assert response.status == 200
    assert response.data["email"] == unverified.email
