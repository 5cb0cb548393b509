"""Tests of the option ``model``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from domain import model_choices
from handlers.transport.contract import load_contract

if TYPE_CHECKING:
    from domain.services import Services
    from tests.handlers.conftest import Client, Response, Server, StartServer, User

UNKNOWN_MODEL = "The model must be one of: auto, photo, anime, fast."

Send = Callable[["Client", "User", bytes, Mapping[str, str]], "Response"]


def send_alone(client: Client, user: User, png: bytes, fields: Mapping[str, str]) -> Response:
    return client.upload(user.token, png, fields=fields)


def send_as_batch(client: Client, user: User, png: bytes, fields: Mapping[str, str]) -> Response:
    return client.upload_batch(user.token, [png, png], fields)


single_or_batch = pytest.mark.parametrize("send", [send_alone, send_as_batch])


def choices_of(services: Services, data: dict[str, Any]) -> set[str | None]:
    """Return the stored choices of an accepted image or of the images of an accepted batch."""
    with services.database.reading() as work:
        rows = [work.images.get(image["id"]) for image in data.get("images", [data])]
    return {row.model_choice for row in rows if row is not None}


@single_or_batch
@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"model": ""}, None),
        ({"model": "auto"}, None),
        ({"model": "photo"}, "photo"),
        ({"model": "anime"}, "anime"),
        ({"model": "fast", "scale_factor": "3"}, "fast"),
    ],
)
def test_chosen_model_is_stored_with_every_image(
    client: Client,
    server: Server,
    jane: User,
    png: bytes,
    send: Send,
    fields: dict[str, str],
    choice: str | None,
) -> None:
    response = send(client, jane, png, fields)

    assert response.status == 202
    assert choices_of(server.services, response.data) == {choice}


@single_or_batch
@pytest.mark.parametrize(
    "value", ["best", "Fast", " fast", "fast,anime", "realesrgan-x4plus", "null", "\x00"]
)
def test_unknown_model_returns_422(client: Client, jane: User, png: bytes, send: Send, value: str) -> None:
    assert send(client, jane, png, {"model": value}).errors == {"model": [UNKNOWN_MODEL]}


def test_model_must_be_one_text_field(client: Client, jane: User, png: bytes) -> None:
    image = ("image", ("a.png", png))
    twice = client.form(jane.token, [image, ("model", (None, "fast")), ("model", (None, "fast"))])
    file = client.form(jane.token, [image, ("model", ("a.txt", "fast"))])

    assert twice.errors["model"][0] == "The model field must be sent only once."
    assert file.errors["model"][0] == "The model must be text, not a file."


def test_unknown_model_is_returned_with_other_problems(client: Client, jane: User) -> None:
    response = client.upload(jane.token, b"no image", fields={"model": "best", "scale_factor": "9"})

    assert response.errors == {
        "scale_factor": ["The scale factor must be between 2 and 4."],
        "model": [UNKNOWN_MODEL],
        "image": ["The image must be a file of type: jpeg, png, webp, bmp, tiff, gif."],
    }


def test_only_offered_models_are_accepted(
    start_server: StartServer, make_owner: Callable[..., User], png: bytes
) -> None:
    server = start_server(model_choices="fast=realesr-animevideov3")
    owner = make_owner(server.services, plan="professional")

    with server.client() as client:
        for send in (send_alone, send_as_batch):
            assert send(client, owner, png, {"model": "photo"}).errors == {
                "model": ["The model must be one of those that are offered here: auto, fast."]
            }
            for word, choice in (("fast", "fast"), ("auto", None)):
                assert choices_of(server.services, send(client, owner, png, {"model": word}).data) == {choice}


def test_contract_lists_every_model_choice() -> None:
    schema = load_contract().document["components"]["schemas"]["ModelChoice"]

    assert schema["enum"] == [model_choices.AUTO, *model_choices.WORDS]
    assert schema["default"] == model_choices.AUTO
