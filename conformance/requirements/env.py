"""Checks of the envelope, of the status of each kind of error, and of what responses must not expose."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from conformance.catalogue import check
from conformance.client import Unreachable
from conformance.envelope import (
    contract_exchanges,
    expect_documented,
    expect_error,
    expect_field_errors,
    may_be_extension,
)
from conformance.images.samples import make_sample
from conformance.verdicts import Inconclusive, expect, expect_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.client import Response
    from conformance.kit import Kit

_LARGEST_ID = 9007199254740991  # of the contract; no server has so many images
_TOO_LARGE_BYTES = 12 * 2**20  # a file may have 10 MiB
_NESTED_LISTS = 10_000  # 20 KB, which is below the body limit of every server
_ENVELOPE = {"success", "message", "data", "meta", "links", "errors"}
_JSON = {"Content-Type": "application/json"}
_BOUNDARY = "uprez-kit-boundary"
_FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
# The form of a crash report in common programming languages.
_TRACES = re.compile(
    r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+|^\s+at \S+ ?\(.*:\d+|goroutine \d+ \["
    r"|#\d+ /\S+\(\d+\)|Stack trace|panicked at|SQLSTATE|\.(?:java|cs|rb|py|php|js|ts|go|rs):\d+",
    re.MULTILINE,
)
_SERVER_PATHS = re.compile(
    r"(?:/(?:usr|home|var|opt|srv|root|tmp)/[\w.-]+|\b[A-Z]:\\+\w+|site-packages|node_modules"
    r"|/[\w./-]+\.(?:py|php|rb|js|ts|go|rs|java|cs)\b)"
)
# The start of an absolute path. A leading slash alone may also be part of a URL.
_ABSOLUTE_PATH = re.compile(
    r"[A-Za-z]:[/\\]|\\\\|file:|/(?:usr|home|var|opt|srv|root|tmp|mnt|etc|app|Users)/"
)
_LINKS = re.compile(r"https?://[^\s\"]+")
_VERSION = re.compile(r"/\d+\.\d+")
_VERSION_HEADERS = {"server", "x-powered-by", "x-aspnet-version"}


@check("ENV-001")
def check_upload_schema(kit: Kit) -> None:
    """Check that the response to an upload matches its schema."""
    response = kit.images.try_upload(make_sample("png"), {"scale_factor": 2}).permitted()
    expect_documented(response, "POST /images/upscale", 202)


@check("ENV-002")
def check_image_schema(kit: Kit) -> None:
    """Check that a completed image matches its schema."""
    expect_documented(kit.owner.get(f"/images/{_completed_id(kit)}"), "GET /images/{id}", 200)


@check("ENV-003")
def check_list_schema(kit: Kit) -> None:
    """Check that a list that is not empty matches its schema."""
    _completed_id(kit)
    expect_documented(kit.owner.get("/images", params={"per_page": 2}), "GET /images", 200)


@check("ENV-004")
def check_download_schema(kit: Kit) -> None:
    """Check that the response to a download matches its schema."""
    response = kit.owner.get(f"/images/{_completed_id(kit)}/download")
    expect_documented(response, "GET /images/{id}/download", 200)


@check("ENV-005")
def check_account_schema(kit: Kit) -> None:
    """Check that the account matches its schema."""
    expect_documented(kit.owner.get("/user"), "GET /user", 200)


@check("ENV-006")
def check_token_list_schema(kit: Kit) -> None:
    """Check that the token list matches its schema, and that its count is correct."""
    listed = expect_documented(kit.owner.get("/user/tokens"), "GET /user/tokens", 200).data
    expect_equal(listed["count"], len(listed["tokens"]), "`count` of GET /user/tokens")


@check("ENV-007")
def check_usage_schema(kit: Kit) -> None:
    """Check that the usage matches its schema."""
    expect_documented(kit.owner.get("/usage"), "GET /usage", 200)


@check("ENV-008")
def check_subscription_schema(kit: Kit) -> None:
    """Check that the subscription matches its schema."""
    expect_documented(kit.owner.get("/subscription"), "GET /subscription", 200)


@check("ENV-009")
def check_batch_schemas(kit: Kit) -> None:
    """Check that the responses of all batch operations match their schemas."""
    created = kit.batches.try_create([make_sample("png")], {"scale_factor": 2}).permitted()
    batch_id = expect_documented(created, "POST /batches", 202).data["id"]
    expect_documented(kit.owner.get(f"/batches/{batch_id}"), "GET /batches/{id}", 200)
    expect_documented(kit.owner.get("/batches", params={"per_page": 2}), "GET /batches", 200)
    expect_documented(kit.owner.delete(f"/batches/{batch_id}"), "DELETE /batches/{id}", 200)


@check("ENV-010")
def check_deletion_schema(kit: Kit) -> None:
    """Check that the response to a deletion has no data."""
    image_id = kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"]
    expect_documented(kit.images.delete(image_id), "DELETE /images/{id}", 200)


@check("ENV-011")
def check_error_schema(kit: Kit) -> None:
    """Check that a 404, a 405 and a 415 match the error schema."""
    expect_error(kit.owner.get(f"/images/{_LARGEST_ID}"), 404)
    expect_error(kit.owner.post("/usage", json={}), 405)
    expect_error(kit.owner.post("/images/upscale", data=b"{}", headers=_JSON).permitted(), 415)


@check("ENV-012")
def check_only_422_has_errors(kit: Kit) -> None:
    """Check that a 422 has field errors, and that no other response of the run has them."""
    expect_error(kit.owner.get("/images", params={"per_page": "0"}), 422)
    expect_error(kit.owner.get(f"/images/{_LARGEST_ID}/download"), 404)
    for request_line, exchange in contract_exchanges(kit.transport):
        body = _parse_object(exchange.body)
        expect(
            exchange.status == HTTPStatus.UNPROCESSABLE_ENTITY or "errors" not in body,
            f"The {exchange.status} response to {request_line} has `errors`, which only a 422 has.",
            expected="no `errors`",
            actual=body.get("errors"),
        )


@check("ENV-013")
def check_envelope_members(kit: Kit) -> None:
    """Check that no envelope of the run has an undocumented member."""
    for path in ("/user", "/images", f"/images/{_LARGEST_ID}"):
        kit.owner.get(path)
    for request_line, exchange in contract_exchanges(kit.transport):
        unknown = sorted(set(_parse_object(exchange.body)) - _ENVELOPE)
        expect(
            not unknown,
            f"The {exchange.status} response to {request_line} has the unknown members `{'`, `'.join(unknown)}`.",
            expected=sorted(_ENVELOPE),
            actual=unknown,
        )


@check("ENV-014")
def check_unknown_route(kit: Kit) -> None:
    """Check that an unknown route returns 404 in the envelope."""
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
    """Check that a method that a route does not define returns 405 in the envelope."""
    for path in ("/images", "/images/upscale", f"/images/{_LARGEST_ID}", "/user", "/usage", "/auth/logout"):
        for method in ("PUT", "PATCH"):
            response = kit.owner.request(method, path)
            if not may_be_extension(response.status):
                expect_error(response, 405, why="(an undefined method)")
    expect_error(kit.owner.get("/auth/login"), 405, why="(an undefined method)")
    expect_error(kit.owner.post("/usage", json={}), 405, why="(an undefined method)")


@check("ENV-016")
def check_unsupported_content_type(kit: Kit) -> None:
    """Check that a missing or unsupported content type returns 415."""
    login = {"email": _unknown_email(kit), "password": "Wrong1Password"}
    expect_error(kit.owner.post("/images/upscale", data=b"{}", headers=_JSON).permitted(), 415)
    expect_error(kit.owner.post("/images/upscale", data=b"x"), 415, why="without a Content-Type")
    for path in ("/auth/login", "/auth/register"):
        body, headers = json.dumps(login).encode(), {"Content-Type": "text/plain"}
        expect_error(kit.owner.post(path, data=body, headers=headers), 415, why="with text/plain")
    expect_error(kit.owner.post("/auth/login", data=login), 415, why="with a form")


@check("ENV-017")
def check_malformed_json(kit: Kit) -> None:
    """Check that a body that is not JSON returns 400."""
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
    """Check that JSON that parsers may interpret differently returns 400."""
    for body, description in (
        (b'{"email": "a@example.com", "email": "b@example.com"}', "has a duplicate name"),
        (b'{"email": NaN}', "has NaN"),
        (b'{"email": "a\\u0000@example.com"}', "has a NUL character"),
        (b'{"email": "\\ud800@example.com"}', "has an unpaired surrogate"),
    ):
        response = kit.owner.post("/auth/login", data=body, headers=_JSON)
        expect_error(response, 400, why=f"with a body that {description}")
    # Each server has its own limit for nesting; without one, the value is an invalid e-mail address.
    nested = b'{"email": ' + b"[" * _NESTED_LISTS + b"]" * _NESTED_LISTS + b"}"
    response = kit.owner.post("/auth/login", data=nested, headers=_JSON)
    expect_error(response, 400, 422, why="with a body of ten thousand nested lists")


@check("ENV-019")
def check_malformed_multipart(kit: Kit) -> None:
    """Check that malformed and truncated multipart bodies return 400."""
    truncated = _form_field("image", make_sample("png").content, "kit.png")[:-20]
    for body, description in (
        (b"this is no form", "is not multipart"),
        (truncated, "ends in the middle of a file"),
    ):
        response = kit.owner.post("/images/upscale", data=body, headers=_FORM)
        expect_error(response, 400, why=f"with a body that {description}")


@check("ENV-020")
def check_all_invalid_fields_are_named(kit: Kit) -> None:
    """Check that a 422 names all invalid fields together."""
    form = {"scale_factor": (None, "7")}
    expect_field_errors(kit.owner.post("/images/upscale", files=form), "image", "scale_factor")
    query = {"page": "0", "per_page": "101", "status": "no-such-status"}
    expect_field_errors(kit.owner.get("/images", params=query), "page", "per_page", "status")
    expect_field_errors(kit.owner.post("/auth/login", json={}), "email", "password")
    expect_field_errors(kit.owner.post("/auth/register", json={}), "name", "email", "password")


@check("ENV-021")
def check_unknown_field_is_named(kit: Kit) -> None:
    """Check that a 422 names an unknown field."""
    expect_field_errors(kit.images.try_upload(make_sample("png"), {"scale_facter": 3}), "scale_facter")
    login = {"email": _unknown_email(kit), "password": "Wrong1Password", "passwort": "x"}
    expect_field_errors(kit.owner.post("/auth/login", json=login), "passwort")


@check("ENV-022")
def check_two_images_are_rejected(kit: Kit) -> None:
    """Check that an upload with two images is rejected."""
    image = make_sample("png").part
    expect_field_errors(kit.images.try_form([("image", image), ("image", image)]), "image")


@check("ENV-023")
def check_unknown_query_parameter(kit: Kit) -> None:
    """Check that an unknown query parameter does not change the response."""
    for path in ("/user", "/usage"):
        expect_documented(kit.owner.get(path, params={"colour": "blue"}), f"GET {path}", 200)


@check("ENV-024")
def check_batch_errors(kit: Kit) -> None:
    """Check that batch operations report errors in the same way as image operations."""
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
    """Check that a path segment that is not a valid id returns 404."""
    image_id = _completed_id(kit)
    spellings = [f"0{image_id}", f"{image_id}.0", f"+{image_id}", f"{image_id}x", f"-{image_id}"]
    large = [str(_LARGEST_ID), str(2**63), str(2**64), "1" + "0" * 40]
    for segment in (*spellings, "0", "-1", "abc", *large):
        expect_error(kit.owner.get(f"/images/{segment}"), 404, why=f"with the id {segment}")
    for segment in ("0", "abc", *large[:2]):
        expect_error(kit.owner.get(f"/images/{segment}/download"), 404, why=f"with the id {segment}")
        expect_error(kit.owner.delete(f"/images/{segment}"), 404, why=f"with the id {segment}")
        # Never with leading zeros: a lenient server would revoke the caller's token.
        expect_error(kit.owner.delete(f"/user/tokens/{segment}"), 404, why=f"with the id {segment}")


@check("ENV-026")
def check_errors_expose_no_internals(kit: Kit) -> None:
    """Check that no error response of the run contains a stack trace or a file path."""
    _hostile_responses(kit)
    for exchange in kit.transport.exchanges:
        if exchange.status is None or exchange.status < HTTPStatus.BAD_REQUEST:
            continue
        path = urlsplit(exchange.url).path
        # An error may repeat the requested path and contain links.
        text = exchange.body.decode("utf-8", "replace").replace("\\/", "/").replace(path, "")
        text = _LINKS.sub("", text)
        found = _TRACES.search(text) or _SERVER_PATHS.search(text)
        expect(
            not found,
            f"The {exchange.status} response to {exchange.method} {path} exposes internals of the server.",
            expected="no stack trace and no file path",
            actual=found and found.group(),
        )


@check("ENV-027")
def check_no_server_version(kit: Kit) -> None:
    """Check that no response of the run exposes the version of the server."""
    kit.owner.get("/user")
    kit.owner.get("no-such-route")
    for exchange in kit.transport.exchanges:
        for name, value in exchange.headers.items():
            expect(
                name.lower() not in _VERSION_HEADERS or not _VERSION.search(value),
                f"The header {name} exposes the version of the server.",
                expected="no version",
                actual=value,
            )


@check("ENV-028")
def check_too_large_requests(kit: Kit) -> None:
    """Check that a request that is too large is rejected in the envelope, or its connection closed."""
    sample = make_sample("png")
    large = (sample.filename, sample.content.ljust(_TOO_LARGE_BYTES, b"\0"), sample.media_type)
    # It exceeds the limit of a file (422), and in most servers that of a body (413).
    _expect_too_large(kit, lambda: kit.images.try_form([("image", large)]), 413, 422)
    for path in ("/auth/login", "/auth/register"):
        body = {"email": _unknown_email(kit), "password": "Aa1" + "x" * 2**20}
        # A server with a larger body limit reads it as an invalid password.
        _expect_too_large(kit, lambda: kit.owner.post(path, json=body), 400, 401, 413, 422)  # noqa: B023


@check("ENV-029")
def check_hostile_requests_cause_no_500(kit: Kit) -> None:
    """Check that no hostile request causes a server error."""
    for response in _hostile_responses(kit):
        expect(
            response.status < HTTPStatus.INTERNAL_SERVER_ERROR,
            f"{response.request_line} causes a server error.",
            expected="a status below 500",
            actual=response.status,
        )


@check("ENV-030")
def check_content_type_parsing(kit: Kit) -> None:
    """Check that the content type is parsed without regard to case and quotes."""
    # The fields are invalid, so the response proves that the body was parsed, and no quota is used.
    headers = {"Content-Type": "Application/JSON; charset=UTF-8"}
    expect_field_errors(kit.owner.post("/auth/login", data=b"{}", headers=headers), "email", "password")
    headers = {"Content-Type": f'Multipart/Form-Data; boundary="{_BOUNDARY}"'}
    response = kit.owner.post("/images/upscale", data=_invalid_form(), headers=headers).permitted()
    expect_field_errors(response, "image", "scale_factor")


@check("ENV-031")
def check_body_without_length(kit: Kit) -> None:
    """Check that a body without Content-Length is parsed."""
    response = kit.owner.post(
        "/images/upscale", data=_ChunkedBody(_invalid_form()), headers=_FORM
    ).permitted()
    if response.status == HTTPStatus.LENGTH_REQUIRED:
        raise Inconclusive(
            "A body without Content-Length gets a 411, perhaps from a proxy in front of the server. Connect to the "
            "server directly."
        )
    expect_field_errors(response, "image", "scale_factor")


@check("ENV-032")
def check_no_server_path(kit: Kit) -> None:
    """Check that an image exposes no absolute path of the server."""
    image = kit.images.get(_completed_id(kit))
    for field in ("original_path", "upscaled_path"):
        expect(
            not _ABSOLUTE_PATH.match(str(image[field])),
            f"`{field}` of an image is a path of the server.",
            expected="a name in the store, such as originals/k3v9x2.png",
            actual=image[field],
        )


@check("ENV-033")
def check_random_stored_name(kit: Kit) -> None:
    """Check that the stored name contains neither the uploaded file name nor only the id."""
    image_id = _completed_id(kit)
    stored = str(kit.images.get(image_id)["original_path"])
    stem = stored.replace("\\", "/").rpartition("/")[2].partition(".")[0]
    expect(
        kit.tag not in stored and stem != str(image_id),
        "`original_path` of an image contains the uploaded file name, or is the id of the image.",
        expected="a random name",
        actual=stored,
    )


def _completed_id(kit: Kit) -> int:
    image_id: int = kit.images.completed_png().image["id"]
    return image_id


def _unknown_email(kit: Kit) -> str:
    return f"{kit.tag}@example.com"


class _ChunkedBody:
    """A request body that is sent in two chunks. It can be iterated again for a repeated request."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        middle = len(self._content) // 2
        yield from (self._content[:middle], self._content[middle:])

    def __str__(self) -> str:  # the form in a report
        return self._content.decode()


def _form_field(name: str, value: bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"\r\nContent-Type: image/png' if filename else ""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def _invalid_form() -> bytes:
    """Return a form without an image and with an invalid factor."""
    return _form_field("scale_factor", b"7") + f"--{_BOUNDARY}--\r\n".encode()


def _hostile_responses(kit: Kit) -> list[Response]:
    """Return the responses to requests that often crash servers; send them only once in a run."""
    return kit.once("hostile requests", lambda: list(_send_hostile_requests(kit)))


def _send_hostile_requests(kit: Kit) -> Iterator[Response]:
    sample = make_sample("png")
    for query in ({"page": "9" * 40}, {"per_page": "1e400"}, {"status": "'\0\"--"}, {"page[]": "1"}):
        yield kit.owner.get("/images", params=query)
    yield kit.owner.get("/images/1%27%22%3b--")
    yield kit.owner.get("/images/1" + "0" * 40)
    yield kit.owner.get("no-such-route")
    yield kit.owner.post("/images/upscale", data=b"--" * 99, headers=_FORM)
    yield kit.images.try_form([("image", ("kit.png", sample.content[:60], sample.media_type))])
    yield kit.images.try_form([("image", (None, "no file")), ("scale_factor", (None, "9" * 400))])
    for body in (b"[" * 1000, b'{"email": [1], "password": {"a": null}}', b"1e400"):
        yield kit.owner.post("/auth/login", data=body, headers=_JSON)


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


def _parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object, or an empty one for any other body, which HDR-004 reports."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
