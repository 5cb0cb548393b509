"""Checks of login, logout and revocation.

The checks revoke only tokens that the kit created. A run sends at most one wrong password for the caller's account.
"""

from __future__ import annotations

import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.access_checks import (
    comparable_body,
    expect_bearer_challenge,
    expect_revoked,
    expect_schema,
)
from conformance.catalogue import check
from conformance.timestamps import sort_key
from conformance.verdicts import Inconclusive, expect, expect_empty, expect_equal

if TYPE_CHECKING:
    from conformance.accounts import NewAccount
    from conformance.client import Client, Response
    from conformance.kit import Kit

ISSUED_TOKEN = "/components/schemas/IssuedToken"  # noqa: S105  # a schema
_ABILITIES = ("images:read", "images:write", "images:delete", "user:read")
_USE_RECORDED_SECONDS, _PAUSE_SECONDS = 65, 1.0


def list_tokens(client: Client) -> list[dict[str, Any]]:
    """Return the tokens of the client's account. Raise CheckFailed for a status other than 200."""
    tokens: list[dict[str, Any]] = client.get("/user/tokens").expect(200).data["tokens"]
    return tokens


@check("AUTH-010")
def check_token_order(kit: Kit) -> None:
    """Check that the tokens of two logins are in the list, and that it is sorted by creation, the newest
    first.
    """
    before = _token_ids(kit.owner)
    _log_in(kit)
    tokens = list_tokens(_log_in(kit))
    expect(
        len({token["id"] for token in tokens} - before) > 1,
        "The token list lacks the tokens of two logins.",
        expected=len(before) + 2,
        actual=len(tokens),
    )
    newest_first = sorted(tokens, key=sort_key, reverse=True)
    expect(
        tokens == newest_first,
        "The tokens are not listed newest first.",
        expected=[token["id"] for token in newest_first],
        actual=[token["id"] for token in tokens],
    )


@check("AUTH-020")
def check_login(kit: Kit) -> None:
    """Check that two logins, one with the address in another case, return different tokens of the same
    account. Both must match the schema and be valid for GET /user.
    """
    email, password = kit.callers.credentials
    logins = [_expect_login(kit, email, password), kit.accounts.log_in(email.swapcase(), password)]
    logins[1].expect(200, why="with the address in another case")
    for login in logins:
        user = {"email_verified_at": None, **login.data["user"]}
        expect_schema(ISSUED_TOKEN, {**login.data, "user": user}, "POST /auth/login")
    first, second = (kit.callers.with_token(login.data["token"]) for login in logins)
    expect(first.token != second.token, "Two logins return the same token.")
    for client in (first, second):
        user = client.get("/user").expect(200, why="with a token of one of two logins").data
        expect_equal(user["id"], logins[0].data["user"]["id"], "The `id` of the account of a login")


@check("AUTH-021")
def check_login_does_not_reveal_accounts(kit: Kit) -> None:
    """Check that an unknown address, a wrong password and a malformed address get the same 401 with a Bearer
    challenge.
    """
    email, _ = kit.callers.credentials
    unknown = kit.accounts.log_in(kit.accounts.registration_form()["email"], _wrong_password())
    wrong = kit.accounts.log_in(email, _wrong_password())  # the only wrong one for this account in a run
    malformed = kit.accounts.log_in("no address at all", _wrong_password())
    for response, what in (
        (unknown, "an unknown address"),
        (wrong, "a wrong password"),
        (malformed, "a malformed address"),
    ):
        response.expect(401, why=f"with {what}")
        expect_bearer_challenge(response)
        expect(
            comparable_body(response) == comparable_body(unknown),
            f"The response to a login with {what} differs from that for an unknown address.",
            expected=comparable_body(unknown),
            actual=comparable_body(response),
        )


@check("AUTH-022")
def check_missing_login_fields(kit: Kit) -> None:
    """Check that a login without address, without password and without both returns 422 with an error for
    each missing field.
    """
    for form, missing in (
        ({}, ("email", "password")),
        ({"email": kit.accounts.registration_form()["email"]}, ("password",)),
        ({"password": _wrong_password()}, ("email",)),
    ):
        response = kit.transport.send("POST", "/auth/login", json=form)
        response.expect_rejected(*missing, why=f"without {' and '.join(missing)}")


@check("AUTH-023")
def check_logout(kit: Kit) -> None:
    """Check that a new account's token is rejected at once after its logout."""
    client = kit.accounts.create().client
    _use(client)
    client.post("/auth/logout").expect(200)
    expect_revoked(client, "after its logout")


@check("AUTH-024")
def check_logout_keeps_other_tokens(kit: Kit) -> None:
    """Check that after a logout the token of another login of the same account is still valid."""
    kept, ended = _log_in(kit), _log_in(kit)
    ended.post("/auth/logout").expect(200)
    _expect_valid(kit, kept, "with a token of another login")


@check("AUTH-025")
def check_revocation_by_id(kit: Kit) -> None:
    """Check that a token that is revoked by its id returns 401, is not listed and returns 404 when revoked
    again. Another token of the account must stay valid. Raise Inconclusive if another client logs in
    meanwhile.
    """
    kept = _log_in(kit)
    before = _token_ids(kept)
    revoked = _log_in(kit)
    added = _token_ids(kept) - before
    expect(added, "A token of a login is not in the list of tokens.")
    if len(added) > 1:
        raise Inconclusive(
            "Another client logged in meanwhile, so the kit cannot identify its token. Repeat the run."
        )
    path = f"/user/tokens/{added.pop()}"
    _use(revoked)
    kept.delete(path).expect(200)
    expect_revoked(revoked, "after it was revoked")
    for other_path in ("/images", "/usage"):
        revoked.get(other_path).expect(401, why="with a revoked token")
    kept.get("/user").expect(200, why="with another token than the revoked one")
    expect_empty(
        sorted(_token_ids(kept) - before), "A revoked token is still in the list of tokens.", expected=[]
    )
    kept.delete(path).expect(404, why="for the second time")


@check("AUTH-026")
def check_token_revokes_itself(kit: Kit) -> None:
    """Check that the only token of an account can revoke itself by its id."""
    client = kit.accounts.create().client
    ids = [token["id"] for token in list_tokens(client)]
    expect_equal(len(ids), 1, "The number of tokens of a new account")
    client.delete(f"/user/tokens/{ids[0]}").expect(200)
    expect_revoked(client, "after it revoked itself")


@check("AUTH-027")
def check_revoke_all(kit: Kit) -> None:
    """Check that after POST /auth/revoke-all all tokens of the account are rejected.

    A token of another account must stay valid.
    """
    bystander = kit.accounts.create().client
    account = kit.accounts.create()
    second = _second_token(kit, account)
    _use(account.client)
    account.client.post("/auth/revoke-all").expect(200)
    for client in (account.client, second):
        if client:
            expect_revoked(client, "after all tokens of its account were revoked")
    _expect_valid(kit, bystander, "after another account revoked all its tokens")


@check("AUTH-031")
def check_body_is_ignored(kit: Kit) -> None:
    """Check that logout with malformed JSON and revoke-all with plain text return 200 and revoke the token."""
    for path, body, media_type in (
        ("/auth/logout", b"{", "application/json"),
        ("/auth/revoke-all", b"no JSON", "text/plain"),
    ):
        client = kit.accounts.create().client
        response = client.post(path, data=body, headers={"Content-Type": media_type})
        response.expect(200, why=f"with a body of {media_type}, which has to be ignored,")
        expect_revoked(client, f"after POST {path} with a body")


@check("AUTH-033")
def check_default_abilities(kit: Kit) -> None:
    """Check that the tokens of a registration and of a login have all four abilities."""
    _expect_all_abilities(list_tokens(kit.accounts.shared.client)[-1:], "registration")
    before = _token_ids(kit.owner)
    # Another client may create a token with fewer abilities meanwhile, so one complete token is enough.
    added = [token for token in list_tokens(_log_in(kit)) if token["id"] not in before]
    _expect_all_abilities(added, "login")


@check("AUTH-034")
def check_last_used_at(kit: Kit) -> None:
    """Check that ``last_used_at`` of a used token is set within 65 seconds or the run's time limit for work,
    if shorter.
    """
    client = kit.accounts.shared.client
    client.get("/user").expect(200)
    # A server may collect the uses before it records them.
    deadline = time.monotonic() + min(kit.options.work_timeout, _USE_RECORDED_SECONDS)
    while list_tokens(client)[-1].get("last_used_at") is None:
        expect(
            time.monotonic() < deadline,
            "`last_used_at` of a used token is null.",
            expected="a time",
            actual=None,
        )
        time.sleep(_PAUSE_SECONDS)


def _token_ids(client: Client) -> set[int]:
    """Return the ids of all tokens of the client's account."""
    return {token["id"] for token in list_tokens(client)}


def _expect_all_abilities(tokens: list[dict[str, Any]], origin: str) -> None:
    """Raise CheckFailed unless one of the tokens has all four abilities."""
    found = [token["abilities"] for token in tokens]
    expect(
        any(isinstance(one, list) and all(ability in one for ability in _ABILITIES) for one in found),
        f"The token of a {origin} lacks abilities.",
        expected=_ABILITIES,
        actual=found,
    )


def _expect_login(kit: Kit, email: str, password: str) -> Response:
    """Return the response to a login. Raise Inconclusive if the server rejects the credentials."""
    response = kit.accounts.log_in(email, password)
    if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise Inconclusive(
            f"The server rejects --email and --password ({response.status}). Use those of a verified account."
        )
    return response.expect(200, why="with the credentials of a verified account")


def _log_in(kit: Kit) -> Client:
    """Return a client with a new token of the caller's account.

    Raise Skipped without credentials, Inconclusive if the server rejects them.
    """
    return kit.callers.with_token(_expect_login(kit, *kit.callers.credentials).data["token"])


def _second_token(kit: Kit, account: NewAccount) -> Client | None:
    """Return a client with one more working token of a new account, or None if the server offers none.

    A login may be denied because the address is not verified, and POST /user/tokens is an extension of Uprez.
    """
    response = kit.accounts.log_in(account.sent["email"], kit.accounts.password)
    if response.status != HTTPStatus.OK:
        response = kit.accounts.track_token(account.client.post("/user/tokens", json={"name": kit.tag}))
    created = response.status in {HTTPStatus.OK, HTTPStatus.CREATED} and isinstance(response.json, dict)
    data = response.json.get("data") if created else None
    token = data.get("token") if isinstance(data, dict) else None
    client = kit.callers.with_token(token) if isinstance(token, str) else None
    return client if client and client.get("/user").status == HTTPStatus.OK else None


def _use(client: Client) -> None:
    """Send a request with the token, so that a server that caches tokens has it in its cache."""
    client.get("/user").expect(200, why="with a valid token")


def _wrong_password() -> str:
    """Return a random password that satisfies the usual rules and is not the account's."""
    return f"Wrong-{secrets.token_urlsafe(9)}-1"


def _expect_valid(kit: Kit, client: Client, why: str) -> None:
    """Fail unless the client's token is valid for GET /user.

    If the server has revoked the run's own token as well, log in again first, so that the run can go on.
    """
    response = client.get("/user")
    denied = HTTPStatus.UNAUTHORIZED
    if response.status == denied and kit.options.email and kit.owner.get("/user").status == denied:
        kit.owner = _log_in(kit)  # the server revoked the caller's token too, and the run needs one
    response.expect(200, why=why)
