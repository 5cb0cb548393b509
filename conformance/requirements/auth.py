"""Who is let in, and with which token.

Requests without a valid token are scarce, so core makes do with eight of them; which ones is drawn by the seed.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.images.samples import picture
from conformance.refusals import NOBODYS, is_documented, limit_reached, names_bearer, protected, refused
from conformance.requirements import auth_accounts  # noqa: F401  # the rest of this family
from conformance.verdicts import Inconclusive, expect, expect_equal

if TYPE_CHECKING:
    from conformance.client import Answer
    from conformance.kit import Kit

OK, UNAUTHORIZED, TOO_MANY = 200, 401, 429
_ASKED_LATER = 6  # requests without a token that AUTH-002 to AUTH-005 are going to make
_SHORTEST_SECRET = 8  # characters; a shorter one may stand in any text by chance
USER, TOKEN = "/components/schemas/User", "/components/schemas/Token"


@check("AUTH-001")
def without_a_token_nobody_is_let_in(kit: Kit) -> None:
    count = max(1, min(2, kit.anonymous_left - _ASKED_LATER))
    drawn = kit.random.sample(protected(), count)
    refused([_asked_by_a_stranger(kit, *operation, None) for operation in drawn], "without a token")


@check("AUTH-002")
def an_invented_token_is_refused(kit: Kit) -> None:
    operation = kit.random.choice(protected())
    answers = [_asked_by_a_stranger(kit, *operation, f"Bearer {_invented()}")]
    answers.append(kit.stranger("GET", "/user", f"Bearer {_damaged(kit)}"))
    refused(answers, "with a token that nobody gave out")


@check("AUTH-003")
def a_refusal_names_the_scheme(kit: Kit) -> None:
    answer = kit.stranger("GET", "/user")
    refused([answer], "without a token")
    names_bearer(answer)


@check("AUTH-004")
def another_scheme_is_refused(kit: Kit) -> None:
    basic = base64.b64encode(b"nobody:nothing").decode()
    answers = [kit.stranger("GET", "/user", header) for header in (f"Basic {basic}", "Bearer")]
    refused(answers, "with another scheme, or with nothing behind it,")


@check("AUTH-005")
def the_token_is_looked_at_first(kit: Kit) -> None:
    faulty: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/images/upscale", {"json": {"no": "picture"}}),
        ("POST", "/images/upscale", {"files": {"scale_facter": (None, "9")}}),
        ("POST", "/batches", {"files": {"images": ("no.png", b"no picture")}}),
        ("GET", "/images?per_page=0", {}),
        ("GET", f"/images/{NOBODYS}/download", {}),
    ]
    method, path, body = kit.random.choice(faulty)
    answer = kit.stranger(method, path, **body)
    refused([answer], "without a token, and with something else wrong,")


@check("AUTH-006")
def no_operation_forgets_the_token(kit: Kit) -> None:
    for operation in protected():
        for authorization, how in (
            (None, "without a token"),
            (f"Bearer {_invented()}", "with an invented token"),
        ):
            answer = _asked_by_a_stranger(kit, *operation, authorization)
            answer.expect(UNAUTHORIZED, TOO_MANY, why=how)
            if answer.status == TOO_MANY:
                raise Inconclusive(limit_reached("Only a part of the operations could be asked"))


@check("AUTH-007")
def a_token_opens_its_account(kit: Kit) -> None:
    user = kit.owner.get("/user").expect(OK, why="with a valid token").data
    is_documented(USER, {"email_verified_at": None, **user}, "GET /user")


@check("AUTH-008")
def the_list_of_tokens_is_whole(kit: Kit) -> None:
    data = kit.owner.get("/user/tokens").expect(OK).data
    tokens = data["tokens"]
    for token in tokens:
        is_documented(TOKEN, {"last_used_at": None, **token}, "GET /user/tokens, of a token,")
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
        answer = kit.owner.get(path).expect(OK)
        expect(secret.encode() not in answer.content, f"The answer to GET {path} shows the token itself.")


@check("AUTH-028")
def a_token_in_the_address_is_not_taken(kit: Kit) -> None:
    token = kit.accounts.known.client.token
    answer = kit.stranger("GET", "/user", params=dict.fromkeys(("token", "access_token", "api_token"), token))
    refused([answer], "with the token in the address only")


def _asked_by_a_stranger(kit: Kit, method: str, path: str, authorization: str | None) -> Answer:
    """With a good body where the operation takes one, so that nothing else is wrong."""
    part = picture("png").part
    bodies: dict[str, dict[str, Any]] = {
        "POST /images/upscale": {"files": {"image": part}},
        "POST /batches": {"files": [("images[]", part)], "data": {"name": kit.tag}},
    }
    return kit.stranger(method, path, authorization, **bodies.get(f"{method} {path}", {}))


def _invented() -> str:
    return f"{NOBODYS}|{secrets.token_urlsafe(30)}"


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
