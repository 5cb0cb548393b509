"""Checks of the status and the fields of errors, and of how request bodies are parsed."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

import requests

from conformance.catalogue import check
from conformance.client import Unreachable
from conformance.envelope import expect_documented, expect_error, expect_field_errors, may_be_extension
from conformance.images.samples import make_sample
from conformance.verdicts import Inconclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.client import Response
    from conformance.kit import Kit

_LARGEST_ID = 9007199254740991  # of the contract; no server has so many images
_TOO_LARGE_BYTES = 12 * 2**20  # a file may have 10 MiB
_NESTED_LISTS = 10_000  # 20 KB, which is below the body limit of every server
_JSON = {"Content-Type": "application/json"}
_BOUNDARY = "uprez-kit-boundary"
_FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


@check("ENV-011")
def check_error_schema(kit: Kit) -> None:
    """Check that an unknown image, a wrong method and JSON for an upload return 404, 405 and 415 in the error
    schema.
    """
    expect_error(kit.owner.get(f"/images/{_LARGEST_ID}"), 404)
    expect_error(kit.owner.post("/usage", json={}), 405)
    expect_error(kit.owner.post("/images/upscale", data=b"{}", headers=_JSON).permitted(), 415)


@check("ENV-014")
def check_unknown_route(kit: Kit) -> None:
    """Check that unknown routes return 404 in the envelope.

    Paths with encoded special characters may return 400.
    """
    paths = [
        "no-such-route",
        "images/1/nothing",
        "user/unknown",
        "no//such",
        "auth",
        "images/upscale/1",
        "x" * 300,
    ]
    for path in paths:
        expect_error(kit.owner.get(path), 404, why="(an unknown route)")
    expect_error(kit.owner.post("no-such-route", json={}), 404, why="(an unknown route)")
    for path in ("no%00such", "no%0d%0asuch", "no%ffsuch", "no%2f..%2fsuch"):
        response = kit.owner.get(path)
        # A proxy may reject these paths with 400.
        if response.status != HTTPStatus.BAD_REQUEST:
            expect_error(response, 404, why="(an unknown route)")


@check("ENV-015")
def check_wrong_method(kit: Kit) -> None:
    """Check that methods that a route does not define return 405 in the envelope.

    PUT and PATCH may be additions of another server: a response that can be one passes.
    """
    for path in ("/images", "/images/upscale", f"/images/{_LARGEST_ID}", "/user", "/usage", "/auth/logout"):
        for method in ("PUT", "PATCH"):
            response = kit.owner.request(method, path)
            if not may_be_extension(response.status):
                expect_error(response, 405, why="(an undefined method)")
    expect_error(kit.owner.get("/auth/login"), 405, why="(an undefined method)")
    expect_error(kit.owner.post("/usage", json={}), 405, why="(an undefined method)")


@check("ENV-016")
def check_unsupported_content_type(kit: Kit) -> None:
    """Check the 415 of an unsupported content type.

    An upload with JSON or without a content type, a login and a registration with plain text, and a login
    with a form must return it.
    """
    login = {"email": _unknown_email(kit), "password": "Wrong1Password"}
    expect_error(kit.owner.post("/images/upscale", data=b"{}", headers=_JSON).permitted(), 415)
    expect_error(kit.owner.post("/images/upscale", data=b"x"), 415, why="without a Content-Type")
    for path in ("/auth/login", "/auth/register"):
        body, headers = json.dumps(login).encode(), {"Content-Type": "text/plain"}
        expect_error(kit.owner.post(path, data=body, headers=headers), 415, why="with text/plain")
    expect_error(kit.owner.post("/auth/login", data=login), 415, why="with a form")


@check("ENV-017")
def check_malformed_json(kit: Kit) -> None:
    """Check that a login body that is truncated, not JSON, empty or not UTF-8 returns 400, and a truncated
    registration.
    """
    for body, description in (
        (b'{"email": "a@example.com", ', "truncated"),
        (b"email=a@example.com", "not JSON"),
        (b"", "empty"),
        (b'{"email": "\xff\xfe@example.com"}', "not UTF-8"),
    ):
        response = kit.owner.post("/auth/login", data=body, headers=_JSON)
        expect_error(response, 400, why=f"with a body that is {description}")
    response = kit.owner.post("/auth/register", data=b'{"email"', headers=_JSON)
    expect_error(response, 400, why="with a body that is truncated")


@check("ENV-018")
def check_ambiguous_json(kit: Kit) -> None:
    """Check that a login with a duplicate name, NaN, a NUL character or an unpaired surrogate returns 400.

    Ten thousand nested lists must return 400 or 422.
    """
    for body, description in (
        (b'{"email": "a@example.com", "email": "b@example.com"}', "has a duplicate name"),
        (b'{"email": NaN}', "has NaN"),
        (b'{"email": "a\\u0000@example.com"}', "has a NUL character"),
        (b'{"email": "\\ud800@example.com"}', "has an unpaired surrogate"),
    ):
        response = kit.owner.post("/auth/login", data=body, headers=_JSON)
        expect_error(response, 400, why=f"with a body that {description}")
    # Each server has its own limit for nesting; without one, the value is an invalid email address.
    nested = b'{"email": ' + b"[" * _NESTED_LISTS + b"]" * _NESTED_LISTS + b"}"
    response = kit.owner.post("/auth/login", data=nested, headers=_JSON)
    expect_error(response, 400, 422, why="with a body of ten thousand nested lists")


@check("ENV-019")
def check_malformed_multipart(kit: Kit) -> None:
    """Check that an upload with a body that is no form, or ends within a file, returns 400."""
    truncated = _form_field("image", make_sample("png").content, "kit.png")[:-20]
    for body, description in (
        (b"this is no form", "is not multipart"),
        (truncated, "ends in the middle of a file"),
    ):
        response = kit.owner.post("/images/upscale", data=body, headers=_FORM)
        expect_error(response, 400, why=f"with a body that {description}")


@check("ENV-020")
def check_all_invalid_fields_are_named(kit: Kit) -> None:
    """Check that the 422 to an upload, a list, a login and a registration names all invalid fields together."""
    form = {"scale_factor": (None, "7")}
    expect_field_errors(kit.owner.post("/images/upscale", files=form), "image", "scale_factor")
    query = {"page": "0", "per_page": "101", "status": "no-such-status"}
    expect_field_errors(kit.owner.get("/images", params=query), "page", "per_page", "status")
    expect_field_errors(kit.owner.post("/auth/login", json={}), "email", "password")
    expect_field_errors(kit.owner.post("/auth/register", json={}), "name", "email", "password")


@check("ENV-021")
def check_unknown_field_is_named(kit: Kit) -> None:
    """Check that an upload and a login with an unknown field return 422 with an error on that field."""
    expect_field_errors(kit.images.try_upload(make_sample("png"), {"scale_facter": 3}), "scale_facter")
    login = {"email": _unknown_email(kit), "password": "Wrong1Password", "passwort": "x"}
    expect_field_errors(kit.owner.post("/auth/login", json=login), "passwort")


@check("ENV-022")
def check_two_images_are_rejected(kit: Kit) -> None:
    """Check that an upload with two images returns 422 with an error on ``image``."""
    image = make_sample("png").part
    expect_field_errors(kit.images.try_form([("image", image), ("image", image)]), "image")


@check("ENV-023")
def check_unknown_query_parameter(kit: Kit) -> None:
    """Check that GET /user and GET /usage with an unknown query parameter return 200 and match their schemas."""
    for path in ("/user", "/usage"):
        expect_documented(kit.owner.get(path, params={"colour": "blue"}), f"GET {path}", 200)


@check("ENV-024")
def check_batch_errors(kit: Kit) -> None:
    """Check the statuses 400, 404, 415 and 422 of batch operations, and the fields of each 422."""
    wrong_type = kit.owner.post("/batches", data=b"{}", headers=_JSON).permitted()
    expect_error(wrong_type, 415, why="with JSON")
    response = kit.owner.post("/batches", data=b"this is no form", headers=_FORM)
    expect_error(response, 400, why="with a body that is not multipart")
    form = {"scale_factor": (None, "7")}
    expect_field_errors(kit.owner.post("/batches", files=form), "images", "scale_factor")
    expect_field_errors(kit.batches.try_create([make_sample("png")], {"scale_facter": 3}), "scale_facter")
    query = {"page": "0", "per_page": "101", "status": "no-such-status"}
    expect_field_errors(kit.owner.get("/batches", params=query), "page", "per_page", "status")
    expect_error(kit.owner.get(f"/batches/{_LARGEST_ID}"), 404)
    expect_error(kit.owner.delete(f"/batches/{_LARGEST_ID}"), 404)


@check("ENV-025")
def check_invalid_ids(kit: Kit) -> None:
    """Check that ids with leading zeros, signs, letters or decimals, and very large ones, return 404.

    GET of an image gets all of them; download and DELETE of images and DELETE of tokens get four, none with
    leading zeros.
    """
    image_id = kit.images.completed_png().image["id"]
    spellings = [f"0{image_id}", f"{image_id}.0", f"+{image_id}", f"{image_id}x", f"-{image_id}"]
    large = [str(_LARGEST_ID), str(2**63), str(2**64), "1" + "0" * 40]
    for segment in (*spellings, "0", "-1", "abc", *large):
        expect_error(kit.owner.get(f"/images/{segment}"), 404, why=f"with the id {segment}")
    for segment in ("0", "abc", *large[:2]):
        expect_error(kit.owner.get(f"/images/{segment}/download"), 404, why=f"with the id {segment}")
        expect_error(kit.owner.delete(f"/images/{segment}"), 404, why=f"with the id {segment}")
        # Never with leading zeros: a lenient server would revoke the caller's token.
        expect_error(kit.owner.delete(f"/user/tokens/{segment}"), 404, why=f"with the id {segment}")


@check("ENV-028")
def check_too_large_requests(kit: Kit) -> None:
    """Check that an upload of 12 MiB and bodies of 1 MiB for login and registration are rejected in the
    envelope. The server may close the connection instead, and must respond to the next request.
    """
    sample = make_sample("png")
    large = (sample.filename, sample.content.ljust(_TOO_LARGE_BYTES, b"\0"), sample.media_type)
    # It exceeds the limit of a file (422), and in most servers that of a body (413).
    _expect_too_large(kit, lambda: kit.images.try_form([("image", large)]), 413, 422)
    for path in ("/auth/login", "/auth/register"):
        body = {"email": _unknown_email(kit), "password": "Aa1" + "x" * 2**20}
        # A server with a larger body limit reads it as an invalid password.
        _expect_too_large(kit, lambda: kit.owner.post(path, json=body), 400, 401, 413, 422)  # noqa: B023


@check("ENV-030")
def check_content_type_parsing(kit: Kit) -> None:
    """Check that JSON and multipart are parsed when the content type has capitals, quotes and parameters.

    The bodies have invalid fields: the 422 that names them shows that they were parsed.
    """
    # The fields are invalid, so the response proves that the body was parsed, and no quota is used.
    headers = {"Content-Type": "Application/JSON; charset=UTF-8"}
    expect_field_errors(kit.owner.post("/auth/login", data=b"{}", headers=headers), "email", "password")
    headers = {"Content-Type": f'Multipart/Form-Data; boundary="{_BOUNDARY}"'}
    response = kit.owner.post("/images/upscale", data=_invalid_form(), headers=headers).permitted()
    expect_field_errors(response, "image", "scale_factor")


@check("ENV-031")
def check_body_without_length(kit: Kit) -> None:
    """Check that a chunked upload without Content-Length is parsed: its 422 names both invalid fields.

    Raise Inconclusive for a 411, which a proxy may send.
    """
    response = kit.owner.post(
        "/images/upscale", data=_ChunkedBody(_invalid_form()), headers=_FORM
    ).permitted()
    if response.status == HTTPStatus.LENGTH_REQUIRED:
        raise Inconclusive(
            "A body without Content-Length gets a 411, perhaps from a proxy in front of the server. Connect to the "
            "server directly."
        )
    expect_field_errors(response, "image", "scale_factor")


def _unknown_email(kit: Kit) -> str:
    """Return an address that has no account on the server."""
    return f"{kit.tag}@example.com"


class _ChunkedBody:
    """A request body that is sent in two chunks. It can be iterated again for a repeated request."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content in two parts, so that it is sent without Content-Length."""
        middle = len(self._content) // 2
        yield from (self._content[:middle], self._content[middle:])

    def __str__(self) -> str:  # the form in a report
        return self._content.decode()


def _form_field(name: str, value: bytes, filename: str | None = None) -> bytes:
    """Return one part of a multipart body, as PNG if it has a file name."""
    file = f'; filename="{filename}"\r\nContent-Type: image/png' if filename else ""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def _invalid_form() -> bytes:
    """Return a form without an image and with an invalid factor."""
    return _form_field("scale_factor", b"7") + f"--{_BOUNDARY}--\r\n".encode()


def _expect_too_large(kit: Kit, send: Callable[[], Response], *statuses: int) -> None:
    """Raise CheckFailed unless ``send`` returns one of the statuses or its connection is closed."""
    try:
        response = send()
    except Unreachable as reason:
        if not isinstance(reason.__cause__, requests.ConnectionError):
            raise
        # A server may close the connection early, but it has to accept the next request.
        kit.owner.get("/user").expect(200)
        return
    expect_error(response, *statuses, why="with a body that is too large")
