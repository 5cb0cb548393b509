"""Multipart forms as a whole: boundaries, limits and text encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, Response, User

UPLOAD = "/api/images/upscale"


def post_form(
    client: Client, user: User, body: bytes, media_type: str = "multipart/form-data; boundary=b"
) -> Response:
    return client.post(UPLOAD, token=user.token, data=body, headers={"Content-Type": media_type})


def text_part(name: str, value: bytes) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def file_part(content: bytes, name: str = "image") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x.png"\r\n\r\n'
    return head.encode() + content + b"\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"--b",
        b"--b\r\n",
        b"--b\r\n\r\n",
        b"--c\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--c--\r\n",
        text_part("scale_factor", b"2"),
        text_part("scale_factor", b"2") + b"--b",
        text_part("scale_factor", b"2")[:-2],
        text_part("scale_factor", b"2") + b"--b\r\nContent-Disp",
        b"--b\r\nContent-Type: text/plain\r\n\r\n1\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--\r\n",
        b"--b\r\nno colon here\r\n\r\n1\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n' + b"X: y\r\n" * 100 + b"\r\n1\r\n--b--\r\n",
        text_part("scale_factor", b"x" * 1_100_000) + b"--b--\r\n",
        text_part("scale_factor", b"\xff") + b"--b--\r\n",
        b"\r\n" * 2000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_malformed_form_returns_400(client: Client, jane: User, body: bytes) -> None:
    response = post_form(client, jane, body)

    assert (response.status, response.message) == (400, "The request is malformed.")


# form-data for Node.js with a Buffer, httpx and Bun send no file name; old versions of requests send filename*.
@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b"", "image"),
        (b'; filename=""', "image"),
        (b"; filename*=UTF-8''%D1%84.png", "ф.png"),
        (b"; filename*=UTF-8''..%2Fa.png", "a.png"),
    ],
)
@pytest.mark.parametrize("media_type", [b"\r\nContent-Type: image/png", b""])
def test_file_without_a_plain_name_is_accepted(
    client: Client, jane: User, png: bytes, parameters: bytes, name: str, media_type: bytes
) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="image"' + parameters + media_type
    response = post_form(client, jane, head + b"\r\n\r\n" + png + b"\r\n--b--\r\n")

    assert (response.status, response.json["data"]["original_filename"]) == (202, name)


def test_empty_file_without_a_name_counts_as_not_sent(client: Client, jane: User) -> None:
    response = post_form(client, jane, text_part("image", b"") + b"--b--\r\n")

    assert response.errors == {"image": ["The image field is required."]}


def test_large_file_without_a_name_has_the_limit_of_files(client: Client, jane: User) -> None:
    response = post_form(client, jane, text_part("image", b"x" * 100_000) + b"--b--\r\n")

    assert list(response.errors) == ["image"]


@pytest.mark.parametrize("cut", [1, 4, 5, 20, 60])
def test_truncated_form_uses_no_quota(client: Client, jane: User, png: bytes, cut: int) -> None:
    """Otherwise its last field would be missing without an error."""
    body = file_part(png) + text_part("scale_factor", b"4") + b"--b--\r\n"

    response = post_form(client, jane, body[: -2 - cut])

    assert response.status == 400
    assert response.headers["X-RateLimit-Remaining"] == "1000"


@pytest.mark.parametrize(
    "media_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 5000,
        "multipart/form-data; charset=utf-8",
    ],
)
def test_form_without_usable_boundary_returns_400(
    client: Client, jane: User, png: bytes, media_type: str
) -> None:
    assert post_form(client, jane, file_part(png) + b"--b--\r\n", media_type).status == 400


@pytest.mark.parametrize(
    "charset",
    [
        "utf-16",
        "undefined",
        "unicode_escape",
        "raw_unicode_escape",
        "idna",
        "punycode",
        "rot13",
        "base64",
        "utf-7",
        "nonsense",
    ],
)
def test_charset_of_the_client_is_ignored(client: Client, jane: User, png: bytes, charset: str) -> None:
    body = (
        file_part(png).replace(b"x.png", rb"\ud800+2AA-\xff.png")
        + text_part("scale_factor", b"3")
        + text_part(r"\ud800+2AA-", b"\\ud800")
        + b"--b--\r\n"
    )

    response = post_form(client, jane, body, f"multipart/form-data; charset={charset}; boundary=b")

    assert list(response.errors) == [r"\ud800+2AA-"]


@pytest.mark.parametrize(("count", "status"), [(900, 422), (1500, 400)])
def test_form_with_too_many_fields_returns_400(client: Client, jane: User, count: int, status: int) -> None:
    texts = b"".join(text_part(f"x{number}", b"1") for number in range(count)) + b"--b--\r\n"

    assert post_form(client, jane, texts).status == status


# They are kept in memory like a JSON body.
@pytest.mark.parametrize(("size", "status"), [(6_000, 422), (7_000, 400)])
def test_text_fields_have_a_common_size_limit(client: Client, jane: User, size: int, status: int) -> None:
    texts = b"".join(text_part(f"x{number}", b"1" * size) for number in range(10)) + b"--b--\r\n"

    assert post_form(client, jane, texts).status == status


# Files beyond the first 32 are only counted, and the error still names the field.
@pytest.mark.parametrize(("count", "status"), [(32, 422), (33, 422), (1000, 422), (1001, 400)])
def test_form_with_too_many_files_returns_400(client: Client, jane: User, count: int, status: int) -> None:
    files = b"".join(file_part(b"1") for number in range(count)) + b"--b--\r\n"

    assert post_form(client, jane, files).status == status


def test_empty_form_lacks_the_image(client: Client, jane: User) -> None:
    assert post_form(client, jane, b"--b--\r\n").errors == {"image": ["The image field is required."]}


def test_text_after_the_form_is_ignored(client: Client, jane: User, png: bytes) -> None:
    assert post_form(client, jane, file_part(png) + b"--b--\r\nand more").status == 202


def test_form_is_parsed_from_single_bytes(client: Client, jane: User, png: bytes) -> None:
    body = file_part(png) + text_part("scale_factor", b"4") + b"--b--\r\n"

    response = client.post(
        UPLOAD,
        token=jane.token,
        data=iter([bytes([byte]) for byte in body]),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )

    assert response.data["scale_factor"] == 4


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/x-www-form-urlencoded",
        "image/png",
        "multipart/mixed; boundary=b",
        "",
        "multipart/form-data, multipart/form-data",
    ],
)
def test_other_media_type_than_a_form_returns_415(
    client: Client, jane: User, png: bytes, media_type: str
) -> None:
    assert post_form(client, jane, file_part(png) + b"--b--\r\n", media_type).status == 415
