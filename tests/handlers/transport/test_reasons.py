"""The words of X-Uprez-Reason: documented, and different for different reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import FieldProblem
from handlers.transport.cors import PREFLIGHT_REJECTED
from handlers.transport.envelope import reasons
from handlers.transport.field_messages import field_reasons, field_words
from tests.handlers.conftest import FIELD_WORDS, REASONS

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, MakeUser, User


def test_contract_lists_exactly_the_words_of_the_code() -> None:
    assert reasons() | {PREFLIGHT_REJECTED} == REASONS
    assert field_words() == FIELD_WORDS


# The message is for people; a client must be able to tell these apart without it.
def test_each_cause_of_403_has_its_own_reason(client: Client, make_user: MakeUser, png: bytes) -> None:
    users = {
        "ability_missing": make_user(abilities=("user:read",)),
        "email_not_verified": make_user(verified=False),
        "api_access_missing": make_user(plan="free"),
        "quota_exceeded": make_user(plan="starter"),
    }
    for _ in range(25):
        client.upload(users["quota_exceeded"].token, png)

    for reason, user in users.items():
        response = client.upload(user.token, png)
        assert (response.status, response.headers["X-Uprez-Reason"]) == (403, reason)
    starter = client.upload_batch(users["quota_exceeded"].token, [png])
    assert starter.headers["X-Uprez-Reason"] == "batches_missing"
    assert client.get("/api/files/x").headers["X-Uprez-Reason"] == "invalid_link"


def test_each_wrong_field_has_its_reasons(client: Client) -> None:
    fields = {"email": "x", "password": "short", "password_confirmation": "other", "Néw": 1}

    response = client.post("/api/auth/register", json=fields)

    assert set(response.headers["X-Uprez-Reason"].split(", ")) == {
        "name=required",
        "email=email",
        "password=(min_characters mixed_case digit confirmed)",
        "*=unknown",
    }


def test_size_that_does_not_fit_one_image_names_the_rule(client: Client, jane: User, png: bytes) -> None:
    response = client.upload_batch(jane.token, [png, b"no image"])

    assert response.headers["X-Uprez-Reason"] == "images.1=image_file"


def test_reasons_are_bounded_and_not_repeated() -> None:
    many = [FieldProblem(f"f{number}", "unknown") for number in range(60)]

    assert field_reasons([*many, *many]).split(", ") == [f"f{number}=unknown" for number in range(50)]
    assert field_reasons([FieldProblem("A", "unknown"), FieldProblem("B", "unknown")]) == "*=unknown"
    inner = FieldProblem("target_width", "larger_than_original", {"side": 20})
    assert field_reasons([FieldProblem("images.1", "unfit", {"because": inner})]) == (
        "images.1=larger_than_original"
    )
