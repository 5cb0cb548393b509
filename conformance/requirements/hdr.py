"""What the headers of answers say, and what they must not repeat."""

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
    from collections.abc import Iterator

    from conformance.client import Response
    from conformance.exchanges import Exchange
    from conformance.kit import Kit

_NO_SUCH_ID = "9007199254740991"
_LONGEST_NAME = 255
_ADDED = "X-Kit-Added"


def _all_sorts(kit: Kit) -> list[Response]:
    """One answer of each kind that needs no picture; asked for once in a run."""
    return kit.once("answers of all sorts", lambda: list(_ask_all_sorts(kit)))


def _ask_all_sorts(kit: Kit) -> Iterator[Response]:
    """Successes, and every error that a client can cause."""
    json_type = {"Content-Type": "application/json"}
    yield kit.owner.get("/user")
    yield kit.owner.get("/images")
    yield kit.owner.get(f"/images/{_NO_SUCH_ID}")
    yield kit.owner.get("no-such-route")
    yield kit.owner.post("/usage", json={})
    yield kit.owner.get("/images", params={"per_page": "0"})
    yield kit.owner.post("/images/upscale", data=b"{}", headers=json_type)
    yield kit.owner.post("/auth/login", data=b"{", headers=json_type)


def _seen(kit: Kit) -> Iterator[tuple[str, Exchange]]:
    """All answers of documented operations in the run so far, after asking for one of each kind."""
    _all_sorts(kit)
    yield from contract_exchanges(kit.transport)


def _header(exchange: Exchange, name: str) -> str:
    return next((value for known, value in exchange.headers.items() if known.lower() == name), "")


@check("HDR-001")
def every_answer_has_a_request_id(kit: Kit) -> None:
    for response in _all_sorts(kit):
        _expect_request_id(response.status, response.request_line, response.headers.get("x-request-id", ""))
    for asked, exchange in contract_exchanges(kit.transport):
        _expect_request_id(exchange.status, asked, _header(exchange, "x-request-id"))


@check("HDR-002")
def two_answers_have_different_request_ids(kit: Kit) -> None:
    known: dict[str, str] = {}
    for asked, exchange in _seen(kit):
        request_id = _header(exchange, "x-request-id")
        expect(
            not request_id or request_id not in known,
            f"The answers to {known.get(request_id)} and to {asked} have the same X-Request-Id.",
            expected="another one on every answer",
            actual=request_id,
        )
        known[request_id] = asked


@check("HDR-003")
def every_answer_forbids_guessing_at_its_type(kit: Kit) -> None:
    for response in _all_sorts(kit):
        _expect_nosniff(
            response.status, response.request_line, response.headers.get("x-content-type-options", "")
        )
    for asked, exchange in contract_exchanges(kit.transport):
        _expect_nosniff(exchange.status, asked, _header(exchange, "x-content-type-options"))


@check("HDR-004")
def every_answer_is_json_by_name_and_content(kit: Kit) -> None:
    for response in _all_sorts(kit):
        _expect_json(response.status, response.request_line, response.media_type, response.content)
    for asked, exchange in contract_exchanges(kit.transport):
        media_type = _header(exchange, "content-type").partition(";")[0].strip().lower()
        _expect_json(exchange.status, asked, media_type, exchange.body)


@check("HDR-005")
def allow_lists_the_methods_of_the_route(kit: Kit) -> None:
    methods: dict[str, set[str]] = {}
    for method, path, _ in operations():
        methods.setdefault(path, set()).add(method)
    for path, has in methods.items():
        response = kit.owner.request("PUT", path.replace("{id}", _NO_SUCH_ID))
        if may_be_extension(response.status):
            continue
        response.expect(405, why="(no such method)")
        allowed = {word.strip().upper() for word in response.headers.get("allow", "").split(",")} - {""}
        expect(
            has <= allowed and "PUT" not in allowed,
            f"The `Allow` of PUT {path} does not list the methods that this route has.",
            expected=", ".join(sorted(has)),
            actual=response.headers.get("allow"),
        )


@check("HDR-006")
def what_belongs_to_an_account_is_not_kept_by_caches(kit: Kit) -> None:
    image_id = kit.images.completed_png().image["id"]
    account = ("/user", "/user/tokens", "/usage", "/subscription")
    for path in (*account, "/images", f"/images/{image_id}", f"/images/{image_id}/download"):
        kit.owner.get(path).expect(200)
    for asked, exchange in contract_exchanges(kit.transport):
        if (
            exchange.status is None
            or exchange.status >= HTTPStatus.MULTIPLE_CHOICES
            or b'"data"' not in exchange.body
        ):
            continue
        said = _header(exchange, "cache-control")
        expect(
            "no-store" in said.lower(),
            f"Caches may keep the answer to {asked}, which holds something of an account.",
            expected="Cache-Control: no-store",
            actual=said or None,
        )


@check("HDR-007")
def a_file_name_adds_nothing_to_headers(kit: Kit) -> None:
    mark = f"zq{kit.random.getrandbits(40):010x}"
    long = f"{mark} – köpfe 画像 😀 ".ljust(_LONGEST_NAME - 30, "x")
    # The first is for servers that undo the escapes of a form or a URL once too often.
    for name in (f'{mark}%0d%0a{_ADDED}: 1%22; {_ADDED}="1.png', f"{long}.png"):
        sent = kit.images.try_upload(make_sample("png").renamed(name), {"scale_factor": 2}).permitted()
        sent.expect(202, 400, 422, why="with an odd file name")
        responses = [sent]
        if sent.status == HTTPStatus.ACCEPTED:  # a server may also refuse such a name
            responses += [kit.owner.get(f"/images/{sent.data['id']}"), kit.images.delete(sent.data["id"])]
        for response in responses:
            _expect_nothing_of(mark, response)


@check("HDR-008")
def file_names_come_back_cleaned(kit: Kit) -> None:
    for name in ("../../folder/kit.png", "kit\x01\x1b\x7f.png"):
        sent = kit.images.try_upload(make_sample("png").renamed(name), {"scale_factor": 2})
        response = sent.permitted().expect(202, 400, 422)
        if response.status != HTTPStatus.ACCEPTED:  # a server may also refuse such a name
            continue
        kit.images.delete(response.data["id"])
        shown = response.data["original_filename"]
        expect(
            isinstance(shown, str) and shown and "/" not in shown and shown.isprintable(),
            "A file name comes back with a folder or a control character in it.",
            expected="kit.png",
            actual=shown,
        )


def _expect_request_id(status: int | None, asked: str, request_id: str) -> None:
    expect(
        request_id,
        f"The answer {status} to {asked} has no X-Request-Id.",
        expected="X-Request-Id",
        actual=None,
    )


def _expect_nosniff(status: int | None, asked: str, said: str) -> None:
    expect(
        is_nosniff(said),
        f"The answer {status} to {asked} lets browsers guess at its type.",
        expected="X-Content-Type-Options: nosniff",
        actual=said or None,
    )


def _expect_json(status: int | None, asked: str, media_type: str, content: bytes) -> None:
    expect(
        media_type == "application/json",
        f"The answer {status} to {asked} is not declared as JSON.",
        expected="Content-Type: application/json",
        actual=media_type or None,
    )
    try:
        body = json.loads(content)
    except ValueError:
        raise CheckFailed(
            f"The answer {status} to {asked} is no JSON.", expected="a JSON object", actual=content[:200]
        ) from None
    expect(
        isinstance(body, dict) and isinstance(body.get("success"), bool) and body.get("message"),
        f"The answer {status} to {asked} is not the envelope.",
        expected="an object with `success` and `message`",
        actual=content[:200],
    )


def _expect_nothing_of(mark: str, response: Response) -> None:
    for name, value in response.headers.items():
        expect(
            name.lower() != _ADDED.lower() and (name.lower() == "content-disposition" or mark not in value),
            f"The name of an uploaded file shows in the header {name} of the answer to {response.request_line}.",
            expected="no header with anything of the name",
            actual=value,
        )
