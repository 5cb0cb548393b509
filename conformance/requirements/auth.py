"""Who is let in, and with which token.

Requests without a valid token are scarce, so core makes do with eight of them; which ones is drawn by the seed.
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

_ASKED_LATER = 6  # requests without a token that AUTH-002 to AUTH-005 are going to make
_SHORTEST_SECRET = 8  # characters; a shorter one may stand in any text by chance
USER, TOKEN = "/components/schemas/User", "/components/schemas/Token"


@check("AUTH-001")
def without_a_token_nobody_is_let_in(kit: Kit) -> None:
    count = max(1, min(2, kit.callers.anonymous_left - _ASKED_LATER))
    drawn = kit.random.sample(protected_operations(), count)
    expect_unauthorized(
        [_asked_by_a_stranger(kit, *operation, None) for operation in drawn], "without a token"
    )


@check("AUTH-002")
def an_invented_token_is_refused(kit: Kit) -> None:
    operation = kit.random.choice(protected_operations())
    responses = [_asked_by_a_stranger(kit, *operation, f"Bearer {_invented()}")]
    responses.append(kit.callers.request_anonymously("GET", "/user", f"Bearer {_damaged(kit)}"))
    expect_unauthorized(responses, "with a token that nobody gave out")


@check("AUTH-003")
def a_refusal_names_the_scheme(kit: Kit) -> None:
    response = kit.callers.request_anonymously("GET", "/user")
    expect_unauthorized([response], "without a token")
    expect_bearer_challenge(response)


@check("AUTH-004")
def another_scheme_is_refused(kit: Kit) -> None:
    basic = base64.b64encode(b"nobody:nothing").decode()
    responses = [
        kit.callers.request_anonymously("GET", "/user", header) for header in (f"Basic {basic}", "Bearer")
    ]
    expect_unauthorized(responses, "with another scheme, or with nothing behind it,")


@check("AUTH-005")
def the_token_is_looked_at_first(kit: Kit) -> None:
    faulty: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/images/upscale", {"json": {"no": "picture"}}),
        ("POST", "/images/upscale", {"files": {"scale_facter": (None, "9")}}),
        ("POST", "/batches", {"files": {"images": ("no.png", b"no picture")}}),
        ("GET", "/images?per_page=0", {}),
        ("GET", f"/images/{UNUSED_ID}/download", {}),
    ]
    method, path, body = kit.random.choice(faulty)
    response = kit.callers.request_anonymously(method, path, **body)
    expect_unauthorized([response], "without a token, and with something else wrong,")


@check("AUTH-006")
def no_operation_forgets_the_token(kit: Kit) -> None:
    for operation in protected_operations():
        for authorization, how in (
            (None, "without a token"),
            (f"Bearer {_invented()}", "with an invented token"),
        ):
            response = _asked_by_a_stranger(kit, *operation, authorization)
            response.expect(401, 429, why=how)
            if response.status == HTTPStatus.TOO_MANY_REQUESTS:
                raise Inconclusive(anonymous_limit_message("Only a part of the operations could be asked"))


@check("AUTH-007")
def a_token_opens_its_account(kit: Kit) -> None:
    user = kit.owner.get("/user").expect(200, why="with a valid token").data
    expect_schema(USER, {"email_verified_at": None, **user}, "GET /user")


@check("AUTH-008")
def the_list_of_tokens_is_whole(kit: Kit) -> None:
    data = kit.owner.get("/user/tokens").expect(200).data
    tokens = data["tokens"]
    for token in tokens:
        expect_schema(TOKEN, {"last_used_at": None, **token}, "GET /user/tokens, of a token,")
    expect_equal(data["count"], len(tokens), "`count` of GET /user/tokens")
    expect(
        tokens, "The list of tokens is empty, although a token asks for it.", expected="1 or more", actual=0
    )


@check("AUTH-009")
def no_token_is_shown_again(kit: Kit) -> None:
    secret = kit.options.token.partition("|")[2] or kit.options.token
    if len(secret) < _SHORTEST_SECRET:
        raise Inconclusive("The token is so short that it may stand in an answer by chance.")
    for path in ("/user/tokens", "/user"):
        response = kit.owner.get(path).expect(200)
        expect(secret.encode() not in response.content, f"The answer to GET {path} shows the token itself.")


@check("AUTH-028")
def a_token_in_the_address_is_not_taken(kit: Kit) -> None:
    token = kit.accounts.shared.client.token
    response = kit.callers.request_anonymously(
        "GET", "/user", params=dict.fromkeys(("token", "access_token", "api_token"), token)
    )
    expect_unauthorized([response], "with the token in the address only")


def _asked_by_a_stranger(kit: Kit, method: str, path: str, authorization: str | None) -> Response:
    """With a good body where the operation takes one, so that nothing else is wrong."""
    part = make_sample("png").part
    bodies: dict[str, dict[str, Any]] = {
        "POST /images/upscale": {"files": {"image": part}},
        "POST /batches": {"files": [("images[]", part)], "data": {"name": kit.tag}},
    }
    return kit.callers.request_anonymously(method, path, authorization, **bodies.get(f"{method} {path}", {}))


def _invented() -> str:
    return f"{UNUSED_ID}|{secrets.token_urlsafe(30)}"


def _damaged(kit: Kit) -> str:
    """The caller's token, with one character in its middle changed, or without its last quarter.

    Not with its last character changed: at the end of Base64, as signed tokens are, that may mean the same.
    """
    token = kit.options.token
    if kit.random.random() < 0.5:  # noqa: PLR2004
        return token[: -max(1, len(token) // 4)]
    places = [at for at, letter in enumerate(token) if letter.isalnum() and at >= len(token) // 3]
    at = kit.random.choice(places[: max(1, len(places) // 2)])
    other = "x" if token[at].lower() != "x" and token[at].isalpha() else "7" if token[at] != "7" else "3"
    return token[:at] + other + token[at + 1 :]
