"""Checks of response headers, and of file names that must not add to them."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.catalogue import check
from conformance.contract import operations
from conformance.envelope import contract_exchanges, is_nosniff, may_be_extension
from conformance.images.samples import make_sample
from conformance.verdicts import CheckFailed, expect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conformance.client import Response
    from conformance.kit import Kit

_UNUSED_ID = "9007199254740991"
_MAX_NAME_LENGTH = 255
_ADDED = "X-Kit-Added"


@check("HDR-001")
def check_request_id(kit: Kit) -> None:
    """Check that every response of the whole run so far has an ``X-Request-Id``."""
    for what, headers, _ in _all_responses(kit):
        expect(
            headers.get("x-request-id"), f"{what} has no X-Request-Id.", expected="X-Request-Id", actual=None
        )


@check("HDR-002")
def check_unique_request_ids(kit: Kit) -> None:
    """Check that no two responses of the contract's operations in the run so far have the same request id.

    A missing one is ignored. Send the varied requests first, unless the run has sent them.
    """
    _varied_responses(kit)
    seen: dict[str, str] = {}
    for request_line, exchange in contract_exchanges(kit.transport):
        request_id = _lower_names(exchange.headers).get("x-request-id", "")
        expect(
            not request_id or request_id not in seen,
            f"The responses to {seen.get(request_id)} and to {request_line} have the same X-Request-Id.",
            expected="another one in every response",
            actual=request_id,
        )
        seen[request_id] = request_line


@check("HDR-003")
def check_nosniff(kit: Kit) -> None:
    """Check that every response of the whole run so far has ``X-Content-Type-Options: nosniff``."""
    for what, headers, _ in _all_responses(kit):
        expect(
            is_nosniff(headers.get("x-content-type-options", "")),
            f"{what} does not disable content sniffing.",
            expected="X-Content-Type-Options: nosniff",
            actual=headers.get("x-content-type-options"),
        )


@check("HDR-004")
def check_json(kit: Kit) -> None:
    """Check that every response of the whole run so far is declared as JSON and is an envelope."""
    for what, headers, content in _all_responses(kit):
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        expect(
            media_type == "application/json",
            f"{what} is not declared as JSON.",
            expected="Content-Type: application/json",
            actual=media_type or None,
        )
        _expect_envelope(what, content)


@check("HDR-005")
def check_allow(kit: Kit) -> None:
    """Check that PUT to each documented path returns 405 with all its methods and without PUT in Allow.

    A status below 500 other than 401, 404 and 405 also passes, because it may come from an extension.
    """
    methods: dict[str, set[str]] = {}
    for method, path, _ in operations():
        methods.setdefault(path, set()).add(method)
    for path, defined in methods.items():
        response = kit.owner.request("PUT", path.replace("{id}", _UNUSED_ID))
        if may_be_extension(response.status):
            continue
        response.expect(405, why="(an undefined method)")
        allowed = {word.strip().upper() for word in response.headers.get("allow", "").split(",")} - {""}
        expect(
            defined <= allowed and "PUT" not in allowed,
            f"The `Allow` header of PUT {path} does not list the methods of the route.",
            expected=", ".join(sorted(defined)),
            actual=response.headers.get("allow"),
        )


@check("HDR-006")
def check_no_store(kit: Kit) -> None:
    """Check that every successful response of the run so far with ``data`` has ``Cache-Control: no-store``."""
    image_id = kit.images.completed_png().image["id"]
    account = ("/user", "/user/tokens", "/usage", "/subscription")
    for path in (*account, "/images", f"/images/{image_id}", f"/images/{image_id}/download"):
        kit.owner.get(path).expect(200)
    for request_line, exchange in contract_exchanges(kit.transport):
        succeeded = exchange.status is not None and exchange.status < HTTPStatus.MULTIPLE_CHOICES
        value = _lower_names(exchange.headers).get("cache-control", "")
        expect(
            not succeeded or b'"data"' not in exchange.body or "no-store" in value.lower(),
            f"Caches may store the response to {request_line}, which has account data.",
            expected="Cache-Control: no-store",
            actual=value or None,
        )


@check("HDR-007")
def check_names_add_no_headers(kit: Kit) -> None:
    """Check that two unusual file names, one with encoded line breaks, add no header and no text to one.

    A part of the name may occur in Content-Disposition. Each upload may return 202, 400 or 422. After a 202,
    the headers of reading and deleting the image are checked too. No result is downloaded.
    """
    mark = f"zq{kit.random.getrandbits(40):010x}"
    long = f"{mark} – köpfe 画像 😀 ".ljust(_MAX_NAME_LENGTH - 30, "x")
    # The first name is for servers that decode the escapes of a form or a URL twice.
    for name in (f'{mark}%0d%0a{_ADDED}: 1%22; {_ADDED}="1.png', f"{long}.png"):
        upload = kit.images.try_upload(make_sample("png").renamed(name), {"scale_factor": 2}).permitted()
        upload.expect(202, 400, 422, why="with an unusual file name")
        responses = [upload]
        if upload.status == HTTPStatus.ACCEPTED:  # a server may also reject such a name
            image_id = upload.data["id"]
            responses += [kit.owner.get(f"/images/{image_id}"), kit.images.delete(image_id)]
        for response in responses:
            _expect_not_in_headers(response, mark)


@check("HDR-008")
def check_names_are_cleaned(kit: Kit) -> None:
    """Check that `original_filename` of a 202 is not empty and has neither `/` nor unprintable characters.

    One name is sent with folders and one with control characters. A 400 or 422 also passes.
    """
    for name in ("../../folder/kit.png", "kit\x01\x1b\x7f.png"):
        upload = kit.images.try_upload(make_sample("png").renamed(name), {"scale_factor": 2})
        response = upload.permitted().expect(202, 400, 422)
        if response.status != HTTPStatus.ACCEPTED:  # a server may also reject such a name
            continue
        kit.images.delete(response.data["id"])
        returned = response.data["original_filename"]
        expect(
            isinstance(returned, str) and returned and "/" not in returned and returned.isprintable(),
            "A returned file name has a folder or a control character.",
            expected="kit.png",
            actual=returned,
        )


def _varied_responses(kit: Kit) -> list[Response]:
    """Return successes and each error that a client can cause; request them only once in a run."""
    return kit.once("varied responses", lambda: list(_send_varied_requests(kit)))


def _send_varied_requests(kit: Kit) -> Iterator[Response]:
    """Send valid, unknown, unprocessable and malformed requests, and yield the responses, which may have any
    status.
    """
    json_type = {"Content-Type": "application/json"}
    yield kit.owner.get("/user")
    yield kit.owner.get("/images")
    yield kit.owner.get(f"/images/{_UNUSED_ID}")
    yield kit.owner.get("no-such-route")
    yield kit.owner.post("/usage", json={})
    yield kit.owner.get("/images", params={"per_page": "0"})
    yield kit.owner.post("/images/upscale", data=b"{}", headers=json_type)
    yield kit.owner.post("/auth/login", data=b"{", headers=json_type)


def _all_responses(kit: Kit) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Yield a name, the headers by their lower-case names and the body of each response.

    These are the varied responses, and all responses of documented operations in the run so far.
    """
    for response in _varied_responses(kit):
        what = f"The {response.status} response to {response.request_line}"
        yield what, _lower_names(response.headers), response.content
    for request_line, exchange in contract_exchanges(kit.transport):
        what = f"The {exchange.status} response to {request_line}"
        yield what, _lower_names(exchange.headers), exchange.body


def _lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def _expect_envelope(what: str, content: bytes) -> None:
    """Fail unless the content is a JSON object with a boolean ``success`` and a ``message`` that is not
    empty.
    """
    try:
        body = json.loads(content)
    except ValueError:
        raise CheckFailed(f"{what} is not JSON.", expected="a JSON object", actual=content[:200]) from None
    expect(
        isinstance(body, dict) and isinstance(body.get("success"), bool) and body.get("message"),
        f"{what} is not an envelope.",
        expected="an object with `success` and `message`",
        actual=content[:200],
    )


def _expect_not_in_headers(response: Response, mark: str) -> None:
    """Fail if a header contains the mark, or is the header that the file name tried to add.

    Content-Disposition may contain the mark.
    """
    for name, value in response.headers.items():
        expect(
            name.lower() != _ADDED.lower() and (name.lower() == "content-disposition" or mark not in value),
            f"The header {name} of the response to {response.request_line} has a part of a file name.",
            expected="no header with a part of the name",
            actual=value,
        )
