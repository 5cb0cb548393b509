"""Is every answer the envelope, with the status that the contract gives for what was asked?"""

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
from conformance.verdicts import CheckFailed, Inconclusive, expect, expect_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.client import Response
    from conformance.kit import Kit

_LARGEST_ID = 9007199254740991  # of the contract; no server has come that far
_OVER_THE_LIMIT = 12 * 2**20  # bytes; a file may have 10 MiB
_DEEP = 10_000  # lists in each other; 20 KB are under every cap
_JSON = {"Content-Type": "application/json"}
_BOUNDARY = "uprez-kit-boundary"
_FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
# What the languages' own reports of a crash look like.
_TRACES = re.compile(
    r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+|^\s+at \S+ ?\(.*:\d+|goroutine \d+ \["
    r"|#\d+ /\S+\(\d+\)|Stack trace|panicked at|SQLSTATE|\.(?:java|cs|rb|py|php|js|ts|go|rs):\d+",
    re.MULTILINE,
)
_SERVER_PATHS = re.compile(
    r"(?:/(?:usr|home|var|opt|srv|root|tmp)/[\w.-]+|\b[A-Z]:\\+\w+|site-packages|node_modules"
    r"|/[\w./-]+\.(?:py|php|rb|js|ts|go|rs|java|cs)\b)"
)
# Where a name in a store would not begin; one with a slash in front alone may be part of an address.
_WHERE_FILES_LIE = re.compile(
    r"[A-Za-z]:[/\\]|\\\\|file:|/(?:usr|home|var|opt|srv|root|tmp|mnt|etc|app|Users)/"
)
_LINKS = re.compile(r"https?://[^\s\"]+")
_VERSIONED = re.compile(r"/\d+\.\d+")


def _completed(kit: Kit) -> int:
    """The id of an image that is done; one for the whole run."""
    image_id: int = kit.images.completed_png().image["id"]
    return image_id


def _form_field(name: str, value: bytes, filename: str | None = None) -> bytes:
    said = f'; filename="{filename}"\r\nContent-Type: image/png' if filename else ""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{said}\r\n\r\n'
    return head.encode() + value + b"\r\n"


@check("ENV-001")
def an_upload_is_answered_as_documented(kit: Kit) -> None:
    response = kit.images.try_upload(make_sample("png"), {"scale_factor": 2}).permitted()
    expect_documented(response, "POST /images/upscale", 202)


@check("ENV-002")
def an_image_is_told_of_as_documented(kit: Kit) -> None:
    response = kit.owner.get(f"/images/{_completed(kit)}")
    expect_documented(response, "GET /images/{id}", 200)


@check("ENV-003")
def a_list_has_meta_and_links_beside_its_items(kit: Kit) -> None:
    _completed(kit)  # so that there is something in it
    expect_documented(kit.owner.get("/images", params={"per_page": 2}), "GET /images", 200)


@check("ENV-004")
def a_download_is_answered_as_documented(kit: Kit) -> None:
    response = kit.owner.get(f"/images/{_completed(kit)}/download")
    expect_documented(response, "GET /images/{id}/download", 200)


@check("ENV-005")
def the_account_is_told_of_as_documented(kit: Kit) -> None:
    expect_documented(kit.owner.get("/user"), "GET /user", 200)


@check("ENV-006")
def tokens_are_listed_as_documented(kit: Kit) -> None:
    listed = expect_documented(kit.owner.get("/user/tokens"), "GET /user/tokens", 200).data
    expect_equal(listed["count"], len(listed["tokens"]), "`count` of GET /user/tokens")


@check("ENV-007")
def usage_is_told_of_as_documented(kit: Kit) -> None:
    expect_documented(kit.owner.get("/usage"), "GET /usage", 200)


@check("ENV-008")
def the_subscription_is_told_of_as_documented(kit: Kit) -> None:
    expect_documented(kit.owner.get("/subscription"), "GET /subscription", 200)


@check("ENV-009")
def batches_are_answered_as_documented(kit: Kit) -> None:
    sent = kit.batches.try_create([make_sample("png")], {"scale_factor": 2}).permitted()
    batch_id = expect_documented(sent, "POST /batches", 202).data["id"]
    expect_documented(kit.owner.get(f"/batches/{batch_id}"), "GET /batches/{id}", 200)
    expect_documented(kit.owner.get("/batches", params={"per_page": 2}), "GET /batches", 200)
    expect_documented(kit.owner.delete(f"/batches/{batch_id}"), "DELETE /batches/{id}", 200)


@check("ENV-010")
def a_deletion_returns_no_data(kit: Kit) -> None:
    image_id = kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"]
    expect_documented(kit.images.delete(image_id), "DELETE /images/{id}", 200)


@check("ENV-011")
def an_error_is_the_envelope_of_a_failure(kit: Kit) -> None:
    expect_error(kit.owner.get(f"/images/{_LARGEST_ID}"), 404)
    expect_error(kit.owner.post("/usage", json={}), 405)
    expect_error(kit.owner.post("/images/upscale", data=b"{}", headers=_JSON).permitted(), 415)


@check("ENV-012")
def only_a_422_has_errors(kit: Kit) -> None:
    expect_error(kit.owner.get("/images", params={"per_page": "0"}), 422)
    expect_error(kit.owner.get(f"/images/{_LARGEST_ID}/download"), 404)
    for asked, exchange in contract_exchanges(kit.transport):
        body = _object(exchange.body)
        expect(
            exchange.status == HTTPStatus.UNPROCESSABLE_ENTITY or "errors" not in body,
            f"The answer {exchange.status} to {asked} has `errors`, which only a 422 has.",
            expected="no `errors`",
            actual=body.get("errors"),
        )


@check("ENV-013")
def an_envelope_has_no_further_members(kit: Kit) -> None:
    kit.owner.get("/user")
    kit.owner.get("/images")
    kit.owner.get(f"/images/{_LARGEST_ID}")
    for asked, exchange in contract_exchanges(kit.transport):
        known = {"success", "message", "data", "meta", "links", "errors"}
        further = sorted(set(_object(exchange.body)) - known)
        expect(
            not further,
            f"The answer {exchange.status} to {asked} has `{'`, `'.join(further)}` beside its envelope.",
            expected=sorted(known),
            actual=further,
        )


@check("ENV-014")
def an_unknown_route_is_404(kit: Kit) -> None:
    plain = (
        "no-such-route",
        "images/1/nothing",
        "user/nobody",
        "no//such",
        "auth",
        "images/upscale/1",
        "x" * 300,
    )
    for path in plain:
        expect_error(kit.owner.get(path), 404, why="(an unknown route)")
    expect_error(kit.owner.post("no-such-route", json={}), 404, why="(an unknown route)")
    for path in ("no%00such", "no%0d%0asuch", "no%ffsuch", "no%2f..%2fsuch"):
        response = kit.owner.get(path)
        if (
            response.status != HTTPStatus.BAD_REQUEST
        ):  # what stands in front of a server may not let these through
            expect_error(response, 404, why="(an unknown route)")


@check("ENV-015")
def a_wrong_method_is_405(kit: Kit) -> None:
    for path in ("/images", "/images/upscale", f"/images/{_LARGEST_ID}", "/user", "/usage", "/auth/logout"):
        for method in ("PUT", "PATCH"):
            response = kit.owner.request(method, path)
            if not may_be_extension(response.status):
                expect_error(response, 405, why="(no such method)")
    expect_error(kit.owner.get("/auth/login"), 405, why="(no such method)")
    expect_error(kit.owner.post("/usage", json={}), 405, why="(no such method)")


@check("ENV-016")
def a_content_type_that_is_not_taken_is_415(kit: Kit) -> None:
    login = json.dumps({"email": _nobody(kit), "password": "Wrong1Password"}).encode()
    expect_error(kit.owner.post("/images/upscale", data=b"{}", headers=_JSON).permitted(), 415)
    expect_error(kit.owner.post("/images/upscale", data=b"x"), 415, why="without a Content-Type")
    for path in ("/auth/login", "/auth/register"):
        text = {"Content-Type": "text/plain"}
        expect_error(kit.owner.post(path, data=login, headers=text), 415, why="with text/plain")
    form = {"email": _nobody(kit), "password": "Wrong1Password"}
    expect_error(kit.owner.post("/auth/login", data=form), 415, why="with a form")


@check("ENV-017")
def malformed_json_is_400(kit: Kit) -> None:
    for body, said in (
        (b'{"email": "a@example.com", ', "cut off"),
        (b"email=a@example.com", "no JSON"),
        (b"", "empty"),
        (b'{"email": "\xff\xfe@example.com"}', "not UTF-8"),
    ):
        response = kit.owner.post("/auth/login", data=body, headers=_JSON)
        expect_error(response, 400, why=f"with a body that is {said}")
    response = kit.owner.post("/auth/register", data=b'{"email"', headers=_JSON)
    expect_error(response, 400, why="with a body that is cut off")


@check("ENV-018")
def json_outside_the_strict_form_is_400(kit: Kit) -> None:
    for body, said in (
        (b'{"email": "a@example.com", "email": "b@example.com"}', "names a field twice"),
        (b'{"email": NaN}', "has NaN"),
        (b'{"email": "a\\u0000@example.com"}', "has a NUL character"),
        (b'{"email": "\\ud800@example.com"}', "has half a surrogate pair"),
    ):
        response = kit.owner.post("/auth/login", data=body, headers=_JSON)
        expect_error(response, 400, why=f"with a body that {said}")
    # From how many on is up to the server: it may also say that this is no e-mail address.
    deep = b'{"email": ' + b"[" * _DEEP + b"]" * _DEEP + b"}"
    response = kit.owner.post("/auth/login", data=deep, headers=_JSON)
    expect_error(response, 400, 422, why="with a body of ten thousand lists in each other")


@check("ENV-019")
def malformed_multipart_is_400(kit: Kit) -> None:
    cut_off = _form_field("image", make_sample("png").content, "kit.png")[:-20]
    for body, said in ((b"this is no form", "is no multipart"), (cut_off, "ends in the middle of a file")):
        response = kit.owner.post("/images/upscale", data=body, headers=_FORM)
        expect_error(response, 400, why=f"with a body that {said}")


@check("ENV-020")
def all_wrong_fields_are_named_together(kit: Kit) -> None:
    form = {"scale_factor": (None, "7")}
    expect_field_errors(kit.owner.post("/images/upscale", files=form), "image", "scale_factor")
    query = {"page": "0", "per_page": "101", "status": "no-such-status"}
    expect_field_errors(kit.owner.get("/images", params=query), "page", "per_page", "status")
    expect_field_errors(kit.owner.post("/auth/login", json={}), "email", "password")
    expect_field_errors(kit.owner.post("/auth/register", json={}), "name", "email", "password")


@check("ENV-021")
def an_unknown_field_is_named(kit: Kit) -> None:
    expect_field_errors(kit.images.try_upload(make_sample("png"), {"scale_facter": 3}), "scale_facter")
    login = {"email": _nobody(kit), "password": "Wrong1Password", "passwort": "x"}
    expect_field_errors(kit.owner.post("/auth/login", json=login), "passwort")


@check("ENV-022")
def two_pictures_in_one_upload_are_refused(kit: Kit) -> None:
    image = make_sample("png").part
    expect_field_errors(kit.images.try_form([("image", image), ("image", image)]), "image")


@check("ENV-023")
def an_unknown_query_parameter_is_ignored(kit: Kit) -> None:
    for path in ("/user", "/usage"):
        expect_documented(kit.owner.get(path, params={"colour": "blue"}), f"GET {path}", 200)


@check("ENV-024")
def bodies_of_batches_are_refused_alike(kit: Kit) -> None:
    wrong_type = kit.owner.post("/batches", data=b"{}", headers=_JSON).permitted()
    expect_error(wrong_type, 415, why="with JSON")
    response = kit.owner.post("/batches", data=b"this is no form", headers=_FORM)
    expect_error(response, 400, why="with a body that is no multipart")
    form = {"scale_factor": (None, "7")}
    expect_field_errors(kit.owner.post("/batches", files=form), "images", "scale_factor")
    expect_field_errors(kit.batches.try_create([make_sample("png")], {"scale_facter": 3}), "scale_facter")
    query = {"page": "0", "per_page": "101", "status": "no-such-status"}
    expect_field_errors(kit.owner.get("/batches", params=query), "page", "per_page", "status")
    expect_error(kit.owner.get(f"/batches/{_LARGEST_ID}"), 404)
    expect_error(kit.owner.delete(f"/batches/{_LARGEST_ID}"), 404)


@check("ENV-025")
def anything_but_an_id_is_404(kit: Kit) -> None:
    image_id = _completed(kit)
    wrong = (
        f"0{image_id}",
        f"{image_id}.0",
        f"+{image_id}",
        f"{image_id}x",
        f"-{image_id}",
        "0",
        "-1",
        "abc",
    )
    large = (str(_LARGEST_ID), str(2**63), str(2**64), "1" + "0" * 40)
    for written in (*wrong, *large):
        expect_error(kit.owner.get(f"/images/{written}"), 404, why=f"with {written} for an id")
    for written in ("0", "abc", *large[:2]):
        expect_error(kit.owner.get(f"/images/{written}/download"), 404, why=f"with {written} for an id")
        expect_error(kit.owner.delete(f"/images/{written}"), 404, why=f"with {written} for an id")
        # Without leading zeros: a server that overlooks them would revoke the caller's token.
        expect_error(kit.owner.delete(f"/user/tokens/{written}"), 404, why=f"with {written} for an id")


@check("ENV-026")
def no_error_shows_the_inside_of_the_server(kit: Kit) -> None:
    _provoked(kit)
    for exchange in kit.transport.exchanges:
        if exchange.status is None or exchange.status < HTTPStatus.BAD_REQUEST:
            continue
        path = urlsplit(exchange.url).path
        # What was asked for may be told again, and links may lead anywhere.
        text = exchange.body.decode("utf-8", "replace").replace("\\/", "/").replace(path, "")
        text = _LINKS.sub("", text)
        shown = _TRACES.search(text) or _SERVER_PATHS.search(text)
        if shown:
            raise CheckFailed(
                f"The answer {exchange.status} to {exchange.method} {path} shows the inside of the server.",
                expected="no stack trace and no path of the server",
                actual=shown.group(),
            )


@check("ENV-027")
def no_answer_tells_the_version_of_the_server(kit: Kit) -> None:
    kit.owner.get("/user")
    kit.owner.get("no-such-route")
    for exchange in kit.transport.exchanges:
        for name, value in exchange.headers.items():
            if name.lower() in {"server", "x-powered-by", "x-aspnet-version"} and _VERSIONED.search(value):
                raise CheckFailed(
                    f"The header {name} tells which version of what the server is.",
                    expected="no version",
                    actual=value,
                )


@check("ENV-028")
def what_is_too_large_is_refused_in_the_envelope(kit: Kit) -> None:
    good = make_sample("png")
    large = (good.filename, good.content.ljust(_OVER_THE_LIMIT, b"\0"), good.media_type)
    # The limit of a file (422) and the cap of a body (413) are both over.
    _expect_refused(kit, lambda: kit.images.try_form([("image", large)]), 413, 422)
    for path in ("/auth/login", "/auth/register"):
        body = {"email": _nobody(kit), "password": "Aa1" + "x" * 2**20}
        # Where the cap of a body is larger, this is a long password, and a wrong one.
        _expect_refused(kit, lambda: kit.owner.post(path, json=body), 400, 401, 413, 422)  # noqa: B023


@check("ENV-029")
def what_a_client_does_wrong_is_no_failure_of_the_server(kit: Kit) -> None:
    for response in _provoked(kit):
        expect(
            response.status < HTTPStatus.INTERNAL_SERVER_ERROR,
            f"The server fails over {response.request_line}.",
            expected="a status below 500",
            actual=response.status,
        )


@check("ENV-030")
def a_content_type_is_understood_however_it_is_written(kit: Kit) -> None:
    # What is in the bodies is wrong: only who has read them can say how, and nothing costs quota.
    said = {"Content-Type": "Application/JSON; charset=UTF-8"}
    expect_field_errors(kit.owner.post("/auth/login", data=b"{}", headers=said), "email", "password")
    said = {"Content-Type": f'Multipart/Form-Data; boundary="{_BOUNDARY}"'}
    response = kit.owner.post("/images/upscale", data=_wrong_form(), headers=said).permitted()
    expect_field_errors(response, "image", "scale_factor")


@check("ENV-031")
def a_body_needs_no_length(kit: Kit) -> None:
    response = kit.owner.post("/images/upscale", data=_InPieces(_wrong_form()), headers=_FORM).permitted()
    if response.status == HTTPStatus.LENGTH_REQUIRED:
        raise Inconclusive(
            "A body without Content-Length is answered with 411, perhaps by what stands in front of the server. Ask the "
            "server itself."
        )
    expect_field_errors(response, "image", "scale_factor")


@check("ENV-032")
def an_image_shows_no_path_of_the_server(kit: Kit) -> None:
    for field, stored in _stored_names(kit):
        found = _WHERE_FILES_LIE.match(stored)
        expect(
            not found,
            f"`{field}` of an image is a path of the server.",
            expected="a name of the server's own, such as originals/k3v9x2.png",
            actual=stored,
        )


@check("ENV-033")
def an_image_is_stored_under_a_random_name(kit: Kit) -> None:
    image_id = _completed(kit)
    stored = str(kit.images.get(image_id)["original_path"])
    name = stored.replace("\\", "/").rpartition("/")[2].partition(".")[0]
    expect(
        kit.tag not in stored and name != str(image_id),
        "`original_path` of an image is made of the user's file name, or of the image's id.",
        expected="a random name",
        actual=stored,
    )


class _InPieces:
    """A body that is sent in pieces, and as often as it is asked for: a request may have to be sent again."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        middle = len(self._content) // 2
        yield from (self._content[:middle], self._content[middle:])

    def __str__(self) -> str:  # as it is shown in a report
        return self._content.decode()


def _wrong_form() -> bytes:
    """Without a picture, and with a factor that there is not."""
    return _form_field("scale_factor", b"7") + f"--{_BOUNDARY}--\r\n".encode()


def _stored_names(kit: Kit) -> list[tuple[str, str]]:
    image = kit.images.get(_completed(kit))
    return [(field, str(image[field])) for field in ("original_path", "upscaled_path")]


def _provoked(kit: Kit) -> list[Response]:
    """The answers to what servers are known to stumble over; asked for once in a run."""
    return kit.once("provocations", lambda: list(_provoke(kit)))


def _provoke(kit: Kit) -> Iterator[Response]:
    good = make_sample("png")
    for query in ({"page": "9" * 40}, {"per_page": "1e400"}, {"status": "'\0\"--"}, {"page[]": "1"}):
        yield kit.owner.get("/images", params=query)
    yield kit.owner.get("/images/1%27%22%3b--")
    yield kit.owner.get("/images/1" + "0" * 40)
    yield kit.owner.get("no-such-route")
    yield kit.owner.post("/images/upscale", data=b"--" * 99, headers=_FORM)
    yield kit.images.try_form([("image", ("kit.png", good.content[:60], good.media_type))])
    yield kit.images.try_form([("image", (None, "no file")), ("scale_factor", (None, "9" * 400))])
    for body in (b"[" * 1000, b'{"email": [1], "password": {"a": null}}', b"1e400"):
        yield kit.owner.post("/auth/login", data=body, headers=_JSON)


def _expect_refused(kit: Kit, ask: Callable[[], Response], *statuses: int) -> None:
    try:
        response = ask()
    except Unreachable as reason:
        if not isinstance(reason.__cause__, requests.ConnectionError):
            raise
        # The connection may be closed before all was sent; the server has to be there for the next one.
        kit.owner.get("/user").expect(200)
        return
    expect_error(response, *statuses, why="with a body beyond all measure")


def _nobody(kit: Kit) -> str:
    return f"{kit.tag}@example.com"


def _object(body: bytes) -> dict[str, Any]:
    """Empty for what is no JSON object: others ask for that."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
