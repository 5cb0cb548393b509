"""Validation of bodies: 400 for a malformed body, 422 with all problems for invalid fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradients import MakeGradient
    from tests.handlers.conftest import Client, Response, User

UPLOAD = "/api/images/upscale"
LOGIN = b'{"email": "jane@example.com", "password": "x"}'


def post_json(client: Client, body: bytes, media_type: str = "application/json") -> Response:
    return client.post("/api/auth/login", data=body, headers={"Content-Type": media_type})


def post_form(
    client: Client, user: User, body: bytes, media_type: str = "multipart/form-data; boundary=b"
) -> Response:
    return client.post(UPLOAD, token=user.token, data=body, headers={"Content-Type": media_type})


def text_part(name: str, value: bytes) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def file_part(content: bytes, name: str = "image") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x.png"\r\n\r\n'
    return head.encode() + content + b"\r\n"


# --- JSON


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"not json",
        b"{'email': 1}",
        b'{"email": "x",}',
        b"{} {}",
        b"\xef\xbb\xbf" + LOGIN,
        LOGIN.decode().encode("utf-16"),
        LOGIN.decode().encode("utf-16-le"),
        LOGIN.decode().encode("utf-32-be"),
        b'{"email": "\xff"}',
        b'{"email": "\xed\xa0\x80"}',
        b'{"email": "\xc0\xaf"}',
        b'{"email": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"email": "a\\u0000b"}',
        b'{"email": "a\x00b"}',
        b'{"email": "a\nb"}',
        b'{"email": NaN}',
        b'{"email": -Infinity}',
        b'{"email": "a", "email": "b"}',
        b'{"x": {"y": 1, "y": 1}}',
        b'{"email": ' + b"9" * 5000 + b"}",
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 30_000,
        b"\x1f\x8b\x08\x00",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_malformed_json_returns_400(client: Client, body: bytes) -> None:
    response = post_json(client, body)

    assert (response.status, response.message) == (400, "The request is malformed.")


def test_json_within_the_limits_is_parsed(client: Client) -> None:
    wide = json.dumps({"email": "x", "password": "x" * 64_000}).encode()
    deep = b'{"x": ' + b"[" * 50 + b"]" * 50 + b"}"

    assert list(post_json(client, wide).errors) == ["password"]
    assert sorted(post_json(client, deep).errors) == ["email", "password", "x"]
    assert post_json(client, b'{"email": "\\ud83d\\ude42", "password": "\xf0\x9f\x99\x82"}').status == 401
    assert list(post_json(client, b'{"email": 1e999, "password": "x"}').errors) == ["email"]
    assert list(post_json(client, b'{"email": ' + b"9" * 4000 + b', "password": "x"}').errors) == ["email"]


def test_unknown_field_names_are_returned_unchanged(client: Client) -> None:
    names = ["🙂", "a b", '"', "\\", "__proto__", "{label}", "<b>", "\x7f", "x" * 1000]

    response = client.post("/api/auth/login", json={"email": "x", "password": "x", **dict.fromkeys(names, 1)})

    assert sorted(response.errors) == sorted(names)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "Application/Json ; charset=utf-8",
        "application/json;",
        "application/json;charset=x",
    ],
)
def test_json_media_type_is_accepted_in_any_spelling(client: Client, media_type: str) -> None:
    assert post_json(client, LOGIN, media_type).status == 401


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "multipart/form-data; boundary=b",
        "application/json, text/plain",
        "json",
        "\xff",
    ],
)
def test_other_media_type_than_json_returns_415(client: Client, media_type: str) -> None:
    response = post_json(client, LOGIN, media_type)

    assert (response.status, response.message) == (415, "Unsupported media type.")


@pytest.mark.parametrize("path", ["/api/auth/login", "/api/auth/register"])
def test_body_without_media_type_returns_415(client: Client, path: str) -> None:
    assert client.post(path, data=LOGIN, headers={"Content-Type": None}).status == 415
    assert client.post(path, headers={"Content-Length": "0"}).status == 415


# --- fields of a form


def wrong(client: Client, user: User, png: bytes, parts: list[tuple[str, Any]]) -> dict[str, list[str]]:
    image = ("image", ("x.png", png))
    return client.form(user.token, [image, *((name, (None, value)) for name, value in parts)]).errors


@pytest.mark.parametrize(
    "value",
    [
        "2 ",
        " 2",
        "٢",
        "1_0",
        "2.0",
        "2.5",
        "2,0",
        "+2",
        "0x2",
        "02",
        "2e0",
        "true",
        "two",
        "NaN",
        "Infinity",
        "null",
        "[2]",
        "²",
        "2\x00",
        "-",
        "9" * 5000,
        str(10**19),
    ],
)
@pytest.mark.parametrize("field", ["scale_factor", "target_width", "target_height"])
def test_integer_must_be_plain_digits(client: Client, jane: User, png: bytes, field: str, value: str) -> None:
    label = field.replace("_", " ")

    assert wrong(client, jane, png, [(field, value)]) == {field: [f"The {label} must be an integer."]}


@pytest.mark.parametrize("value", ["0", "1", "5", "-1", "-2", str(2**31), str(2**63), str(-(2**63))])
def test_scale_factor_must_be_between_two_and_four(
    client: Client, jane: User, png: bytes, value: str
) -> None:
    errors = wrong(client, jane, png, [("scale_factor", value)])

    assert errors == {"scale_factor": ["The scale factor must be between 2 and 4."]}


@pytest.mark.parametrize("value", ["0", "-1", "16385", str(2**63)])
def test_target_must_be_within_its_bounds(client: Client, jane: User, png: bytes, value: str) -> None:
    errors = wrong(client, jane, png, [("target_width", value), ("target_height", value)])

    assert errors == {
        "target_width": ["The target width must be between 1 and 16384."],
        "target_height": ["The target height must be between 1 and 16384."],
    }


def test_target_must_exceed_the_original_within_plan_scale(client: Client, jane: User, png: bytes) -> None:
    """The image has 8 × 6 pixels."""
    assert wrong(client, jane, png, [("target_width", "8"), ("target_height", "25")]) == {
        "target_width": ["The target width must be larger than the original (8 pixels)."],
        "target_height": [
            "The target height must not be greater than 24, the most that your plan allows here."
        ],
    }


def test_scale_factor_and_target_exclude_each_other(client: Client, jane: User, png: bytes) -> None:
    expected = {"scale_factor": ["The scale factor cannot be used with target_width or target_height."]}

    assert wrong(client, jane, png, [("scale_factor", "2"), ("target_width", "16")]) == expected
    assert (
        wrong(client, jane, png, [("scale_factor", "2"), ("target_height", "12"), ("target_width", "16")])
        == expected
    )


def test_oversized_result_is_an_error_on_its_option(
    client: Client, jane: User, gradient: MakeGradient
) -> None:
    long = gradient("PNG", 8200, 1)
    for parts, field in (
        ([], "scale_factor"),
        ([("scale_factor", "2")], "scale_factor"),
        ([("target_height", "2")], "target_height"),
    ):
        assert wrong(client, jane, long, parts) == {
            field: [
                f"The {field.replace('_', ' ')} would make a side of the result longer than 16384 pixels."
            ]
        }


def test_invalid_field_is_not_reported_as_its_default(
    client: Client, jane: User, gradient: MakeGradient
) -> None:
    long = gradient("PNG", 8200, 1)

    assert wrong(client, jane, long, [("scale_factor", "9")]) == {
        "scale_factor": ["The scale factor must be between 2 and 4."]
    }
    assert wrong(client, jane, long, [("target_width", "x")]) == {
        "target_width": ["The target width must be an integer."]
    }


def test_all_problems_of_a_form_are_returned_at_once(client: Client, jane: User) -> None:
    response = client.upload(
        jane.token,
        b"no image",
        fields=[
            ("scale_factor", "9"),
            ("target_width", "x"),
            ("user_id", "1"),
            ("is_admin", ""),
            ("scale_facter", "2"),
        ],
    )

    assert response.errors == {
        "scale_factor": ["The scale factor must be between 2 and 4."],
        "target_width": ["The target width must be an integer."],
        "user_id": ["The user id field is not known."],
        "scale_facter": ["The scale facter field is not known."],
        "image": ["The image must be a file of type: jpeg, png, webp, bmp, tiff, gif."],
    }
    assert response.headers["X-RateLimit-Remaining"] == "1000"


@pytest.mark.parametrize("field", ["scale_factor", "target_width"])
def test_repeated_field_is_rejected_even_with_equal_values(
    client: Client, jane: User, png: bytes, field: str
) -> None:
    message = f"The {field.replace('_', ' ')} field must be sent only once."

    assert wrong(client, jane, png, [(field, "12"), (field, "12")])[field][0] == message
    assert wrong(client, jane, png, [(field, "3"), (field, "4"), (field, "4")])[field][0] == message


def test_two_images_are_rejected(client: Client, jane: User, png: bytes) -> None:
    response = client.form(jane.token, [("image", ("a.png", png)), ("image", ("b.png", png))])

    assert response.errors == {"image": ["The image field must be sent only once."]}


def test_text_instead_of_the_image_is_rejected(client: Client, jane: User) -> None:
    assert client.form(jane.token, [("image", (None, "hello"))]).errors == {
        "image": ["The image must be a file of type: jpeg, png, webp, bmp, tiff, gif."]
    }


def test_text_in_addition_to_the_image_is_rejected(client: Client, jane: User, png: bytes) -> None:
    response = client.form(jane.token, [("image", (None, "hello")), ("image", ("a.png", png))])

    assert response.errors == {"image": ["The image field must be sent only once."]}


def test_file_instead_of_text_is_rejected(client: Client, jane: User, png: bytes) -> None:
    response = client.form(jane.token, [("image", ("a.png", png)), ("scale_factor", ("a.txt", "2"))])

    assert response.errors["scale_factor"][0] == "The scale factor must be text, not a file."


def test_unknown_file_field_is_rejected(client: Client, jane: User, png: bytes) -> None:
    response = client.form(jane.token, [("image", ("a.png", png)), ("images[]", ("b.png", png))])

    assert response.errors == {"images[]": ["The images[] field is not known."]}


def test_empty_value_counts_as_missing(client: Client, jane: User, png: bytes) -> None:
    response = client.form(
        jane.token,
        [
            ("image", ("a.png", png)),
            ("scale_factor", (None, "")),
            ("scale_factor", (None, "3")),
            ("target_width", (None, "")),
            ("unknown", (None, "")),
        ],
    )

    assert response.data["scale_factor"] == 3


def test_empty_browser_file_field_is_a_missing_image(client: Client, jane: User) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="image"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--b--\r\n'

    assert post_form(client, jane, body).errors == {"image": ["The image field is required."]}


def test_empty_file_is_no_image(client: Client, jane: User) -> None:
    assert client.upload(jane.token, b"").errors == {
        "image": ["The image must be a file of type: jpeg, png, webp, bmp, tiff, gif."]
    }
