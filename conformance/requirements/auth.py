"""Checks of authentication: which requests a server accepts without and with a token.

A server may limit requests without a valid token, so the core profile sends only eight. The seed selects them.
"""

from __future__ import annotations

import base64
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.access_checks import (
    UNUSED_ID,
    anonymous_limit_message,
    expect_bearer_challenge,
    expect_schema,
    expect_unauthorized,
    protected_operations,
)
from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.verdicts import Inconclusive, expect, expect_equal

if TYPE_CHECKING:
    from conformance.client import Response
    from conformance.kit import Kit

_RESERVED_REQUESTS = 6  # anonymous requests that AUTH-002 to AUTH-005 will send
_MIN_SECRET_LENGTH = 8  # characters; a shorter text may occur in a response by coincidence
_USER, _TOKEN = "/components/schemas/User", "/components/schemas/Token"


@check("AUTH-001")
def check_missing_token(kit: Kit) -> None:
    """Check that valid requests without a token to one or two protected operations, chosen by the seed,
    return 401. At least one is sent; six of the anonymous requests that the server allows are left for the
    next checks.
    """
    count = max(1, min(2, kit.callers.anonymous_left - _RESERVED_REQUESTS))
    operations = kit.random.sample(protected_operations(), count)
    expect_unauthorized([_send_valid(kit, *operation, None) for operation in operations], "without a token")


@check("AUTH-002")
def check_unknown_token(kit: Kit) -> None:
    """Check that an invented token, at a random protected operation, and a changed token, at GET /user,
    return 401.
    """
    operation = kit.random.choice(protected_operations())
    responses = [
        _send_valid(kit, *operation, f"Bearer {_invented_token()}"),
        kit.callers.request_anonymously("GET", "/user", f"Bearer {_damaged_token(kit)}"),
    ]
    expect_unauthorized(responses, "with an unknown token")


@check("AUTH-003")
def check_bearer_challenge(kit: Kit) -> None:
    """Check that GET /user without a token returns 401 with a ``WWW-Authenticate`` that names the Bearer
    scheme.
    """
    response = kit.callers.request_anonymously("GET", "/user")
    expect_unauthorized([response], "without a token")
    expect_bearer_challenge(response)


@check("AUTH-004")
def check_other_scheme(kit: Kit) -> None:
    """Check that GET /user with Basic credentials, and with ``Bearer`` without a token, returns 401."""
    basic = base64.b64encode(b"unknown:nothing").decode()
    responses = [
        kit.callers.request_anonymously("GET", "/user", header) for header in (f"Basic {basic}", "Bearer")
    ]
    expect_unauthorized(responses, "with another scheme or without a token after it")


@check("AUTH-005")
def check_token_comes_first(kit: Kit) -> None:
    """Check that one of five invalid requests, chosen by the seed, returns 401 without a token."""
    invalid: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/images/upscale", {"json": {"no": "image"}}),
        ("POST", "/images/upscale", {"files": {"scale_facter": (None, "9")}}),
        ("POST", "/batches", {"files": {"images": ("no.png", b"no image")}}),
        ("GET", "/images?per_page=0", {}),
        ("GET", f"/images/{UNUSED_ID}/download", {}),
    ]
    method, path, body = kit.random.choice(invalid)
    response = kit.callers.request_anonymously(method, path, **body)
    expect_unauthorized([response], "without a token and with another fault")


@check("AUTH-006")
def check_all_operations_are_protected(kit: Kit) -> None:
    """Check that every protected operation returns 401 for a missing and for an invented token.

    Raise Inconclusive at the first 429: the other operations are then unchecked.
    """
    for operation in protected_operations():
        for authorization, why in (
            (None, "without a token"),
            (f"Bearer {_invented_token()}", "with an invented token"),
        ):
            response = _send_valid(kit, *operation, authorization).expect(401, 429, why=why)
            if response.status == HTTPStatus.TOO_MANY_REQUESTS:
                raise Inconclusive(anonymous_limit_message("Only a part of the operations was checked"))


@check("AUTH-007")
def check_token_opens_account(kit: Kit) -> None:
    """Check that a token returns its account with all documented fields."""
    user = kit.owner.get("/user").expect(200, why="with a valid token").data
    expect_schema(_USER, {"email_verified_at": None, **user}, "GET /user")


@check("AUTH-008")
def check_token_list(kit: Kit) -> None:
    """Check that the token list has all documented fields, a correct count and at least one token."""
    data = kit.owner.get("/user/tokens").expect(200).data
    tokens = data["tokens"]
    for token in tokens:
        expect_schema(_TOKEN, {"last_used_at": None, **token}, "GET /user/tokens, for one token,")
    expect_equal(data["count"], len(tokens), "`count` of GET /user/tokens")
    expect(tokens, "The token list lacks the token of the request.", expected="1 or more", actual=0)


@check("AUTH-009")
def check_no_token_is_exposed(kit: Kit) -> None:
    """Check that neither GET /user/tokens nor GET /user contains the secret part of the request's token.

    Raise Inconclusive if it has fewer than ``_MIN_SECRET_LENGTH`` characters.
    """
    secret = kit.options.token.partition("|")[2] or kit.options.token
    if len(secret) < _MIN_SECRET_LENGTH:
        raise Inconclusive("The token is so short that it may occur in a response by coincidence.")
    for path in ("/user/tokens", "/user"):
        response = kit.owner.get(path).expect(200)
        expect(secret.encode() not in response.content, f"The response to GET {path} contains the token.")


@check("AUTH-028")
def check_token_in_query(kit: Kit) -> None:
    """Check that GET /user with a valid token in the query string only, under three names, returns 401."""
    query = dict.fromkeys(("token", "access_token", "api_token"), kit.accounts.shared.client.token)
    response = kit.callers.request_anonymously("GET", "/user", params=query)
    expect_unauthorized([response], "with the token in the query string only")


def _send_valid(kit: Kit, method: str, path: str, authorization: str | None) -> Response:
    """Send a request without the run's token and return the response; all but ``authorization`` is valid.

    Uploads and batches contain a small PNG; other operations have no body.
    """
    part = make_sample("png").part
    bodies: dict[str, dict[str, Any]] = {
        "POST /images/upscale": {"files": {"image": part}},
        "POST /batches": {"files": [("images[]", part)], "data": {"name": kit.tag}},
    }
    body = bodies.get(f"{method} {path}", {})
    return kit.callers.request_anonymously(method, path, authorization, **body)


def _invented_token() -> str:
    """Return a token of the form ``ID|SECRET`` that no server has issued."""
    return f"{UNUSED_ID}|{secrets.token_urlsafe(30)}"


def _damaged_token(kit: Kit) -> str:
    """Return the caller's token with one character in its middle changed, or without its last quarter.

    The last character is not changed: at the end of Base64, two characters may encode the same bytes.
    """
    token = kit.options.token
    if kit.random.random() < 0.5:  # noqa: PLR2004
        return token[: -max(1, len(token) // 4)]
    positions = [at for at, letter in enumerate(token) if letter.isalnum() and at >= len(token) // 3]
    at = kit.random.choice(positions[: max(1, len(positions) // 2)])
    other = "x" if token[at].lower() != "x" and token[at].isalpha() else "7" if token[at] != "7" else "3"
    return token[:at] + other + token[at + 1 :]
