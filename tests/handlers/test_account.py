"""/user/tokens and /usage: who speaks for an account, and what it has used."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from domain import quota
from domain.plans import Plans

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.handlers.conftest import Client, InProcess, MakePerson, Person, Server

TOKENS = "/api/user/tokens"
ALL = ["images:read", "images:write", "images:delete", "user:read"]


def id_of(token: str) -> int:
    return int(token.partition("|")[0])


class Use(Protocol):
    def __call__(self, person: Person, images: int) -> None: ...


@pytest.fixture
def use(server: Server) -> Use:
    """Counts so many images of this month, whatever the plan allows."""

    def use(person: Person, images: int) -> None:
        month = quota.month_of(server.services.clock.now())
        with server.services.database.writing() as work:
            work.quota.reserve(person.account.id, month, images, None)
            work.commit()

    return use


# --- list


def test_the_list_has_all_tokens_of_the_account_newest_first_and_nobody_elses(
    client: Client, person: MakePerson
) -> None:
    person()
    jane = person()
    login = {"email": jane.email, "password": jane.password, "device_name": "a phone"}
    phone = client.post("/api/auth/login", json=login).data["token"]

    reply = client.get(TOKENS, token=jane.token)

    assert reply.message == "API tokens retrieved successfully"
    assert reply.data["count"] == 2
    assert [(token["id"], token["name"]) for token in reply.data["tokens"]] == [
        (id_of(phone), "a phone"),
        (id_of(jane.token), "tests"),
    ]
    assert all(token["abilities"] == ALL for token in reply.data["tokens"])


def test_the_list_says_when_a_token_was_used(client: Client, jane: Person) -> None:
    unused = client.post(TOKENS, token=jane.token, json={"name": "a phone"}).data

    newest, asking = client.get(TOKENS, token=jane.token).data["tokens"]
    assert (newest["id"], newest["last_used_at"]) == (unused["id"], None)
    assert asking["last_used_at"] >= asking["created_at"]

    client.get("/api/user", token=unused["token"])
    newest = client.get(TOKENS, token=jane.token).data["tokens"][0]
    assert newest["last_used_at"] is not None


# Whoever reads along learns which tokens there are, and can use none of them.
def test_no_token_is_in_the_list(client: Client, jane: Person) -> None:
    secret = jane.token.partition("|")[2]

    reply = client.get(TOKENS, token=jane.token)

    assert secret[:40].encode() not in reply.body
    assert set(reply.data["tokens"][0]) == {"id", "name", "abilities", "last_used_at", "created_at"}


def test_tokens_can_be_managed_on_every_plan_and_before_the_address_is_verified(
    client: Client, person: MakePerson
) -> None:
    token = person(verified=False, plan="free").token

    made = client.post(TOKENS, token=token, json={"name": "a phone"})

    assert made.status == 201
    assert client.get(TOKENS, token=token).data["count"] == 2
    assert client.delete(f"{TOKENS}/{made.data['id']}", token=token).status == 200


# --- create


def test_a_created_token_works_at_once_and_does_what_it_may(client: Client, jane: Person) -> None:
    body = {"name": "Photo wall", "abilities": ["user:read", "images:read"]}

    reply = client.post(TOKENS, token=jane.token, json=body)

    assert (reply.status, reply.message) == (201, "API token created successfully")
    assert reply.data["id"] == id_of(reply.data["token"])
    assert reply.data["name"] == "Photo wall"
    assert reply.data["abilities"] == ["images:read", "user:read"]
    assert reply.data["token_type"] == "Bearer"
    assert client.get("/api/images", token=reply.data["token"]).status == 200
    assert client.delete("/api/images/1", token=reply.data["token"]).status == 403


@pytest.mark.parametrize("abilities", [ALL, ["user:read", "images:delete"]])
def test_a_token_created_without_abilities_has_those_of_the_token_that_asks(
    client: Client, person: MakePerson, abilities: list[str]
) -> None:
    asking = person(abilities=abilities)

    reply = client.post(TOKENS, token=asking.token, json={"name": "the same"})

    assert sorted(reply.data["abilities"]) == sorted(abilities)


def test_a_token_cannot_grant_what_it_lacks(client: Client, person: MakePerson) -> None:
    weak = person(abilities=["images:read", "user:read"])
    before = client.get(TOKENS, token=weak.token).data["count"]

    reply = client.post(TOKENS, token=weak.token, json={"name": "more", "abilities": ALL})

    assert reply.errors == {
        "abilities": ["The abilities must be among those of the token that asks: images:read, user:read."]
    }
    assert client.get(TOKENS, token=weak.token).data["count"] == before


def test_a_chain_of_tokens_never_gains_an_ability(client: Client, jane: Person) -> None:
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
        ({"abilities": [7]}, {"abilities": ["The abilities is not in the right form.", EACH_OF]}),
        (
            {"abilities": [["images:read"]]},
            {"abilities": ["The abilities is not in the right form.", EACH_OF]},
        ),
        ({"ability": "user:read"}, {"ability": ["The ability field is not known."]}),
        ({"expires_at": None}, {"expires_at": ["The expires at field is not known."]}),
    ],
)
def test_a_wrong_field_has_its_sentence(
    client: Client, jane: Person, changes: dict[str, object], errors: dict[str, list[str]]
) -> None:
    reply = client.post(TOKENS, token=jane.token, json={"name": "Photo wall", **changes})

    assert reply.errors == errors
    assert client.get(TOKENS, token=jane.token).data["count"] == 1


def test_everything_that_is_wrong_is_named_at_once(client: Client, person: MakePerson) -> None:
    weak = person(abilities=["user:read"])

    reply = client.post(TOKENS, token=weak.token, json={"abilities": ["images:read"], "scope": "all"})

    assert sorted(reply.errors) == ["abilities", "name", "scope"]


def test_an_ability_given_twice_counts_once(client: Client, jane: Person) -> None:
    body = {"name": "x", "abilities": ["images:read"] * 1000}

    assert client.post(TOKENS, token=jane.token, json=body).data["abilities"] == ["images:read"]


@pytest.mark.parametrize(
    "name", ["x", "x" * 255, "李" * 255, "   ", "<script>", "Jane\r\nBcc: all@example.com"]
)
def test_any_name_is_kept_as_it_is(client: Client, jane: Person, name: str) -> None:
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
def test_what_is_no_json_object_of_fair_size_creates_nothing(
    client: Client, jane: Person, media_type: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": media_type}

    assert client.post(TOKENS, token=jane.token, data=body, headers=headers).status == status
    assert client.get(TOKENS, token=jane.token).data["count"] == 1


# --- revoke


def test_revoking_one_token_ends_it_at_once_and_no_other(client: Client, jane: Person) -> None:
    lost = client.post(TOKENS, token=jane.token, json={"name": "a lost phone"}).data
    assert client.get("/api/user", token=lost["token"]).status == 200

    reply = client.delete(f"{TOKENS}/{lost['id']}", token=jane.token)

    assert reply.json == {"success": True, "message": "Token revoked successfully"}
    assert client.get("/api/user", token=lost["token"]).status == 401
    listed = client.get(TOKENS, token=jane.token).data
    assert [token["id"] for token in listed["tokens"]] == [id_of(jane.token)]
    assert listed["count"] == 1


def test_a_token_revoked_in_one_process_is_refused_in_every_other(
    client: Client, server: Server, jane: Person, in_process: Callable[..., InProcess]
) -> None:
    other_process = in_process(server.services)
    bearer = {"Authorization": f"Bearer {jane.token}"}
    assert other_process.ask("GET", "/api/user", bearer).status == 200

    client.delete(f"{TOKENS}/{id_of(jane.token)}", token=jane.token)

    assert other_process.ask("GET", "/api/user", bearer).status == 401


def test_a_token_may_revoke_itself(client: Client, jane: Person) -> None:
    assert client.delete(f"{TOKENS}/{id_of(jane.token)}", token=jane.token).status == 200
    assert client.delete(f"{TOKENS}/{id_of(jane.token)}", token=jane.token).status == 401


def test_somebody_elses_token_is_as_good_as_none(client: Client, jane: Person, person: MakePerson) -> None:
    other = person()
    revoked = client.post(TOKENS, token=jane.token, json={"name": "x"}).data["id"]
    client.delete(f"{TOKENS}/{revoked}", token=jane.token)

    replies = [
        client.delete(f"{TOKENS}/{token_id}", token=jane.token)
        for token_id in (id_of(other.token), revoked, 9007199254740991)
    ]

    assert {reply.status for reply in replies} == {404}
    assert {reply.body for reply in replies} == {replies[0].body}
    assert client.get("/api/user", token=other.token).status == 200


@pytest.mark.parametrize("token_id", ["0", "-1", "01", "x", "1.0", "9007199254740992", "9" * 40, "1%7Cx"])
def test_what_is_no_id_is_no_route(client: Client, jane: Person, token_id: str) -> None:
    assert client.delete(f"{TOKENS}/{token_id}", token=jane.token).status == 404


def test_other_methods_are_not_there(client: Client, jane: Person) -> None:
    tokens = client.request("PUT", TOKENS, token=jane.token)
    one = client.get(f"{TOKENS}/1", token=jane.token)

    assert (tokens.status, tokens.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert (one.status, one.headers["Allow"]) == (405, "DELETE")


# --- usage


def test_an_account_that_uploaded_nothing_has_all_of_its_quota(client: Client, person: MakePerson) -> None:
    reply = client.get("/api/usage", token=person(plan="starter").token)

    assert (reply.status, reply.message) == (200, "Usage statistics retrieved successfully")
    assert reply.data == {
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


def test_every_accepted_upload_counts_and_what_is_given_back_does_not(
    client: Client, person: MakePerson, png: bytes
) -> None:
    starter = person(plan="starter")
    ids = [client.upload(starter.token, png).data["id"] for _ in range(3)]
    client.upload(starter.token, b"no picture")
    client.delete(f"/api/images/{ids[0]}", token=starter.token)

    uploads = client.get("/api/usage", token=starter.token).data["image_uploads"]

    assert (uploads["used"], uploads["remaining"], uploads["percentage"]) == (2, 23, 8.0)


def test_a_used_up_quota_is_exceeded_and_the_headers_agree(
    client: Client, person: MakePerson, use: Use, png: bytes
) -> None:
    starter = person(plan="starter")
    use(starter, 25)

    uploads = client.get("/api/usage", token=starter.token).data["image_uploads"]
    refused = client.upload(starter.token, png)

    assert (uploads["remaining"], uploads["exceeded"], uploads["percentage"]) == (0, True, 100.0)
    assert refused.status == 403
    assert refused.headers["X-RateLimit-Limit"] == str(uploads["limit"])
    assert refused.headers["X-RateLimit-Remaining"] == str(uploads["remaining"])


def test_a_change_to_a_smaller_plan_can_leave_more_used_than_allowed(
    client: Client, person: MakePerson, use: Use
) -> None:
    free = person(plan="free")
    use(free, 7)

    assert client.get("/api/usage", token=free.token).data["image_uploads"] == {
        "used": 7,
        "limit": 2,
        "remaining": 0,
        "unlimited": False,
        "exceeded": True,
        "percentage": 350.0,
    }


def test_usage_can_be_read_on_every_plan_and_before_the_address_is_verified(
    client: Client, person: MakePerson
) -> None:
    reply = client.get("/api/usage", token=person(verified=False, plan="free").token)

    assert reply.status == 200
    assert (reply.data["plan"], reply.data["features"]) == ("free", [])
    assert reply.data["image_uploads"]["limit"] == 2


@pytest.mark.parametrize(
    ("images_per_month", "expected"),
    [
        (None, {"limit": None, "remaining": None, "unlimited": True, "exceeded": False, "percentage": 0.0}),
        (0, {"limit": 0, "remaining": 0, "unlimited": False, "exceeded": True, "percentage": 100.0}),
        (3, {"limit": 3, "remaining": 2, "unlimited": False, "exceeded": False, "percentage": 33.3}),
    ],
)
def test_a_limit_may_be_none_at_all_or_anything(
    server: Server,
    person: MakePerson,
    use: Use,
    in_process: Callable[..., InProcess],
    images_per_month: int | None,
    expected: dict[str, object],
) -> None:
    jane = person(plan="enterprise")
    use(jane, 1)
    plans = Plans([replace(server.services.plans["enterprise"], images_per_month=images_per_month)])
    app = in_process(replace(server.services, plans=plans))

    reply = app.ask("GET", "/api/usage", {"Authorization": f"Bearer {jane.token}"})

    assert reply.data["image_uploads"] == {"used": 1, **expected}
