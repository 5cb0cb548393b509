"""Tests of /user/tokens and /usage."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from domain import quota
from domain.plans import Plans

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.handlers.conftest import Client, InProcessClient, MakeUser, Server, User

TOKENS = "/api/user/tokens"
ALL = ["images:read", "images:write", "images:delete", "user:read"]


def id_of(token: str) -> int:
    return int(token.partition("|")[0])


class UseQuota(Protocol):
    def __call__(self, user: User, images: int) -> None: ...


@pytest.fixture
def use_quota(server: Server) -> UseQuota:
    """Return a function that counts images of this month, without a limit."""

    def use_quota(user: User, images: int) -> None:
        month = quota.month_of(server.services.clock.now())
        with server.services.database.writing() as work:
            work.quota.reserve(user.account.id, month, images, None)
            work.commit()

    return use_quota


# --- list


def test_list_tokens_returns_own_tokens_newest_first(client: Client, make_user: MakeUser) -> None:
    make_user()
    jane = make_user()
    login = {"email": jane.email, "password": jane.password, "device_name": "a phone"}
    phone = client.post("/api/auth/login", json=login).data["token"]

    response = client.get(TOKENS, token=jane.token)

    assert response.message == "API tokens retrieved successfully"
    assert response.data["count"] == 2
    assert [(token["id"], token["name"]) for token in response.data["tokens"]] == [
        (id_of(phone), "a phone"),
        (id_of(jane.token), "tests"),
    ]
    assert all(token["abilities"] == ALL for token in response.data["tokens"])


def test_list_tokens_returns_time_of_last_use(client: Client, jane: User) -> None:
    unused = client.post(TOKENS, token=jane.token, json={"name": "a phone"}).data

    newest, own = client.get(TOKENS, token=jane.token).data["tokens"]
    assert (newest["id"], newest["last_used_at"]) == (unused["id"], None)
    assert own["last_used_at"] >= own["created_at"]

    client.get("/api/user", token=unused["token"])
    newest = client.get(TOKENS, token=jane.token).data["tokens"][0]
    assert newest["last_used_at"] is not None


# A leaked list must not reveal usable tokens.
def test_list_tokens_returns_no_secret(client: Client, jane: User) -> None:
    secret = jane.token.partition("|")[2]

    response = client.get(TOKENS, token=jane.token)

    assert secret[:40].encode() not in response.body
    assert set(response.data["tokens"][0]) == {"id", "name", "abilities", "last_used_at", "created_at"}


def test_tokens_are_manageable_on_every_plan_and_unverified(client: Client, make_user: MakeUser) -> None:
    token = make_user(verified=False, plan="free").token

    made = client.post(TOKENS, token=token, json={"name": "a phone"})

    assert made.status == 201
    assert client.get(TOKENS, token=token).data["count"] == 2
    assert client.delete(f"{TOKENS}/{made.data['id']}", token=token).status == 200


# --- create


def test_created_token_works_at_once_with_its_abilities(client: Client, jane: User) -> None:
    body = {"name": "Photo wall", "abilities": ["user:read", "images:read"]}

    response = client.post(TOKENS, token=jane.token, json=body)

    assert (response.status, response.message) == (201, "API token created successfully")
    assert response.data["id"] == id_of(response.data["token"])
    assert response.data["name"] == "Photo wall"
    assert response.data["abilities"] == ["images:read", "user:read"]
    assert response.data["token_type"] == "Bearer"
    assert client.get("/api/images", token=response.data["token"]).status == 200
    assert client.delete("/api/images/1", token=response.data["token"]).status == 403


@pytest.mark.parametrize("abilities", [ALL, ["user:read", "images:delete"]])
def test_new_token_inherits_abilities_by_default(
    client: Client, make_user: MakeUser, abilities: list[str]
) -> None:
    own = make_user(abilities=abilities)

    response = client.post(TOKENS, token=own.token, json={"name": "the same"})

    assert sorted(response.data["abilities"]) == sorted(abilities)


def test_token_cannot_grant_abilities_it_lacks(client: Client, make_user: MakeUser) -> None:
    weak = make_user(abilities=["images:read", "user:read"])
    before = client.get(TOKENS, token=weak.token).data["count"]

    response = client.post(TOKENS, token=weak.token, json={"name": "more", "abilities": ALL})

    assert response.errors == {
        "abilities": ["The abilities must be among those of the token that asks: images:read, user:read."]
    }
    assert client.get(TOKENS, token=weak.token).data["count"] == before


def test_chain_of_tokens_never_gains_an_ability(client: Client, jane: User) -> None:
    body: dict[str, Any] = {"name": "weaker", "abilities": ["user:read", "images:read"]}
    weaker = client.post(TOKENS, token=jane.token, json=body).data["token"]
    body["abilities"] = ["user:read"]
    weakest = client.post(TOKENS, token=weaker, json=body).data["token"]

    body["abilities"] = ["images:read"]
    assert "abilities" in client.post(TOKENS, token=weakest, json=body).errors
    assert client.post(TOKENS, token=weakest, json={"name": "x"}).data["abilities"] == ["user:read"]


EACH_OF = "The abilities must each be one of: images:read, images:write, images:delete, user:read."


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"name": None}, {"name": ["The name field is required."]}),
        ({"name": ""}, {"name": ["The name field is required."]}),
        ({"name": 7}, {"name": ["The name must be a string."]}),
        ({"name": "x" * 256}, {"name": ["The name must not be greater than 255 characters."]}),
        ({"abilities": []}, {"abilities": ["The abilities must not be empty."]}),
        ({"abilities": "images:read"}, {"abilities": ["The abilities must be a list."]}),
        ({"abilities": {"images:read": True}}, {"abilities": ["The abilities must be a list."]}),
        ({"abilities": ["images:read", "images:*"]}, {"abilities": [EACH_OF]}),
        ({"abilities": ["*"]}, {"abilities": [EACH_OF]}),
        ({"abilities": ["IMAGES:READ"]}, {"abilities": [EACH_OF]}),
        ({"abilities": [7]}, {"abilities": ["The abilities has an invalid format.", EACH_OF]}),
        (
            {"abilities": [["images:read"]]},
            {"abilities": ["The abilities has an invalid format.", EACH_OF]},
        ),
        ({"ability": "user:read"}, {"ability": ["The ability field is not known."]}),
        ({"expires_at": None}, {"expires_at": ["The expires at field is not known."]}),
    ],
)
def test_invalid_field_returns_its_message(
    client: Client, jane: User, changes: dict[str, object], errors: dict[str, list[str]]
) -> None:
    response = client.post(TOKENS, token=jane.token, json={"name": "Photo wall", **changes})

    assert response.errors == errors
    assert client.get(TOKENS, token=jane.token).data["count"] == 1


def test_all_problems_are_returned_at_once(client: Client, make_user: MakeUser) -> None:
    weak = make_user(abilities=["user:read"])

    response = client.post(TOKENS, token=weak.token, json={"abilities": ["images:read"], "scope": "all"})

    assert sorted(response.errors) == ["abilities", "name", "scope"]


def test_repeated_ability_counts_once(client: Client, jane: User) -> None:
    body = {"name": "x", "abilities": ["images:read"] * 1000}

    assert client.post(TOKENS, token=jane.token, json=body).data["abilities"] == ["images:read"]


@pytest.mark.parametrize(
    "name", ["x", "x" * 255, "李" * 255, "   ", "<script>", "Jane\r\nBcc: all@example.com"]
)
def test_token_name_is_stored_unchanged(client: Client, jane: User, name: str) -> None:
    assert client.post(TOKENS, token=jane.token, json={"name": name}).data["name"] == name
    assert client.get(TOKENS, token=jane.token).data["tokens"][0]["name"] == name


@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [
        ("text/plain", b'{"name": "x"}', 415),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 415),
        ("application/json", b"", 400),
        ("application/json", b"{", 400),
        ("application/json", b'{"name": "x", "name": "y"}', 400),
        ("application/json", b'{"name": "\\u0000"}', 400),
        ("application/json", b"[]", 422),
        ("application/json", json.dumps({"name": "x" * 70_000}).encode(), 413),
    ],
)
def test_malformed_or_large_body_creates_no_token(
    client: Client, jane: User, media_type: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": media_type}

    assert client.post(TOKENS, token=jane.token, data=body, headers=headers).status == status
    assert client.get(TOKENS, token=jane.token).data["count"] == 1


# --- revoke


def test_revoked_token_returns_401_and_others_work(client: Client, jane: User) -> None:
    lost = client.post(TOKENS, token=jane.token, json={"name": "a lost phone"}).data
    assert client.get("/api/user", token=lost["token"]).status == 200

    response = client.delete(f"{TOKENS}/{lost['id']}", token=jane.token)

    assert response.json == {"success": True, "message": "Token revoked successfully"}
    assert client.get("/api/user", token=lost["token"]).status == 401
    listed = client.get(TOKENS, token=jane.token).data
    assert [token["id"] for token in listed["tokens"]] == [id_of(jane.token)]
    assert listed["count"] == 1


def test_token_revoked_in_one_process_returns_401_in_another(
    client: Client, server: Server, jane: User, in_process: Callable[..., InProcessClient]
) -> None:
    other_process = in_process(server.services)
    bearer = {"Authorization": f"Bearer {jane.token}"}
    assert other_process.request("GET", "/api/user", bearer).status == 200

    client.delete(f"{TOKENS}/{id_of(jane.token)}", token=jane.token)

    assert other_process.request("GET", "/api/user", bearer).status == 401


def test_token_can_revoke_itself(client: Client, jane: User) -> None:
    assert client.delete(f"{TOKENS}/{id_of(jane.token)}", token=jane.token).status == 200
    assert client.delete(f"{TOKENS}/{id_of(jane.token)}", token=jane.token).status == 401


def test_token_of_another_account_returns_404(client: Client, jane: User, make_user: MakeUser) -> None:
    other = make_user()
    revoked = client.post(TOKENS, token=jane.token, json={"name": "x"}).data["id"]
    client.delete(f"{TOKENS}/{revoked}", token=jane.token)

    responses = [
        client.delete(f"{TOKENS}/{token_id}", token=jane.token)
        for token_id in (id_of(other.token), revoked, 9007199254740991)
    ]

    assert {response.status for response in responses} == {404}
    assert {response.body for response in responses} == {responses[0].body}
    assert client.get("/api/user", token=other.token).status == 200


@pytest.mark.parametrize("token_id", ["0", "-1", "01", "x", "1.0", "9007199254740992", "9" * 40, "1%7Cx"])
def test_invalid_token_id_returns_404(client: Client, jane: User, token_id: str) -> None:
    assert client.delete(f"{TOKENS}/{token_id}", token=jane.token).status == 404


def test_other_methods_return_405(client: Client, jane: User) -> None:
    tokens = client.request("PUT", TOKENS, token=jane.token)
    one = client.get(f"{TOKENS}/1", token=jane.token)

    assert (tokens.status, tokens.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert (one.status, one.headers["Allow"]) == (405, "DELETE")


# --- usage


def test_new_account_has_its_whole_quota(client: Client, make_user: MakeUser) -> None:
    response = client.get("/api/usage", token=make_user(plan="starter").token)

    assert (response.status, response.message) == (200, "Usage statistics retrieved successfully")
    assert response.data == {
        "plan": "starter",
        "image_uploads": {
            "used": 0,
            "limit": 25,
            "remaining": 25,
            "unlimited": False,
            "exceeded": False,
            "percentage": 0.0,
        },
        "features": ["api_access", "priority_support"],
    }


def test_usage_counts_accepted_uploads_and_not_refunded_ones(
    client: Client, make_user: MakeUser, png: bytes
) -> None:
    starter = make_user(plan="starter")
    ids = [client.upload(starter.token, png).data["id"] for _ in range(3)]
    client.upload(starter.token, b"no image")
    client.delete(f"/api/images/{ids[0]}", token=starter.token)

    uploads = client.get("/api/usage", token=starter.token).data["image_uploads"]

    assert (uploads["used"], uploads["remaining"], uploads["percentage"]) == (2, 23, 8.0)


def test_exceeded_quota_matches_the_headers(
    client: Client, make_user: MakeUser, use_quota: UseQuota, png: bytes
) -> None:
    starter = make_user(plan="starter")
    use_quota(starter, 25)

    uploads = client.get("/api/usage", token=starter.token).data["image_uploads"]
    rejected = client.upload(starter.token, png)

    assert (uploads["remaining"], uploads["exceeded"], uploads["percentage"]) == (0, True, 100.0)
    assert rejected.status == 403
    assert rejected.headers["X-RateLimit-Limit"] == str(uploads["limit"])
    assert rejected.headers["X-RateLimit-Remaining"] == str(uploads["remaining"])


def test_smaller_plan_can_leave_usage_over_the_limit(
    client: Client, make_user: MakeUser, use_quota: UseQuota
) -> None:
    free = make_user(plan="free")
    use_quota(free, 7)

    assert client.get("/api/usage", token=free.token).data["image_uploads"] == {
        "used": 7,
        "limit": 2,
        "remaining": 0,
        "unlimited": False,
        "exceeded": True,
        "percentage": 350.0,
    }


def test_usage_is_readable_on_every_plan_and_unverified(client: Client, make_user: MakeUser) -> None:
    response = client.get("/api/usage", token=make_user(verified=False, plan="free").token)

    assert response.status == 200
    assert (response.data["plan"], response.data["features"]) == ("free", [])
    assert response.data["image_uploads"]["limit"] == 2


@pytest.mark.parametrize(
    ("images_per_month", "expected"),
    [
        (None, {"limit": None, "remaining": None, "unlimited": True, "exceeded": False, "percentage": 0.0}),
        (0, {"limit": 0, "remaining": 0, "unlimited": False, "exceeded": True, "percentage": 100.0}),
        (3, {"limit": 3, "remaining": 2, "unlimited": False, "exceeded": False, "percentage": 33.3}),
    ],
)
def test_usage_with_unlimited_zero_and_small_limits(
    server: Server,
    make_user: MakeUser,
    use_quota: UseQuota,
    in_process: Callable[..., InProcessClient],
    images_per_month: int | None,
    expected: dict[str, object],
) -> None:
    jane = make_user(plan="enterprise")
    use_quota(jane, 1)
    plans = Plans([replace(server.services.plans["enterprise"], images_per_month=images_per_month)])
    app = in_process(replace(server.services, plans=plans))

    response = app.request("GET", "/api/usage", {"Authorization": f"Bearer {jane.token}"})

    assert response.data["image_uploads"] == {"used": 1, **expected}
