"""How one gets a token, by registering and by logging in, and how one ends it.

Nothing here revokes a token of the caller's: what is revoked, the kit got for itself. No more than one wrong password
is sent for the caller's account.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.access_checks import (
    comparable_body,
    expect_bearer_challenge,
    expect_revoked,
    expect_schema,
    protected_operations,
)
from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.polling import poll
from conformance.timestamps import sort_key
from conformance.verdicts import Inconclusive, expect, expect_equal

if TYPE_CHECKING:
    from conformance.accounts import NewAccount
    from conformance.client import Client, Response
    from conformance.kit import Kit

ABILITIES = ("images:read", "images:write", "images:delete", "user:read")
_LONG_PASSWORD = 80  # characters; of bcrypt, 72 bytes count
_NOTED_WITHIN = 65  # seconds
ISSUED = "/components/schemas/IssuedToken"


@check("AUTH-010")
def tokens_come_newest_first(kit: Kit) -> None:
    before = {token["id"] for token in _tokens(kit.owner)}
    _session(kit)
    newest = _session(kit)
    tokens = _tokens(newest)
    expect(
        len({token["id"] for token in tokens} - before) > 1,
        "Two logins later the list of tokens has not two more.",
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


@check("AUTH-011")
def registering_answers_account_and_token(kit: Kit) -> None:
    newcomer = kit.accounts.shared
    data = newcomer.registration.expect(201, why="with all that is asked for").data
    expect_schema(
        ISSUED, {**data, "user": {"email_verified_at": None, **data["user"]}}, "POST /auth/register"
    )
    _is_the_registered(newcomer.user, newcomer)


@check("AUTH-012")
def the_first_token_works_at_once(kit: Kit) -> None:
    newcomer = kit.accounts.create(device_name=f"{kit.tag}-label")
    user = newcomer.client.get("/user").expect(200, why="right after the registration").data
    _is_the_registered(user, newcomer)
    expect_equal(user["id"], newcomer.user["id"], "The `id` of the account that the new token opens")
    names = [token["name"] for token in _tokens(newcomer.client)]
    expect_equal(names, [newcomer.sent["device_name"]], "What the tokens of a new account are called")


@check("AUTH-030")
def a_token_without_a_label_is_called_after_the_program(kit: Kit) -> None:
    newcomer = kit.accounts.shared
    program = newcomer.registration.raw.request.headers["User-Agent"]
    name = _tokens(newcomer.client)[-1]["name"]  # its first
    expect_equal(name, program, "What a token is called that was asked for without a label")


@check("AUTH-013")
def a_registration_names_what_is_missing(kit: Kit) -> None:
    required = ("name", "email", "password", "password_confirmation")
    nothing = kit.accounts.register({})
    _names(nothing, required[:3], "with nothing in it")
    for left_out in required:
        form = {name: value for name, value in kit.accounts.registration_form().items() if name != left_out}
        response = kit.accounts.register(form)
        if left_out == "password_confirmation":  # missing, or different: both can be said of it
            _names_one_of(response, (left_out, "password"), f"without `{left_out}`")
        else:
            _names(response, (left_out,), f"without `{left_out}`")


@check("AUTH-014")
def what_is_no_address_is_refused(kit: Kit) -> None:
    for address in ("nobody.example.com", "@example.com", "nobody@"):
        _is_wrong(kit, {"email": address}, "email", f"with {address!r} as its address")


@check("AUTH-015")
def the_rules_for_passwords_are_kept(kit: Kit) -> None:
    for password, broken in (
        ("Short-9", "a password of seven characters"),
        ("no-capital-letter-9", "a password without an uppercase letter"),
        ("NO-SMALL-LETTER-9", "a password without a lowercase letter"),
        ("No-Digit-In-Here", "a password without a digit"),
    ):
        form = {"password": password, "password_confirmation": password}
        _is_wrong(kit, form, "password", f"with {broken}")
    shortest = f"Aa1{secrets.token_hex(3)[:5]}"
    kit.secrets.add(shortest)
    form = {**kit.accounts.registration_form(), "password": shortest, "password_confirmation": shortest}
    response = kit.accounts.register(form)
    if not (response.status == HTTPStatus.UNPROCESSABLE_ENTITY and "password" not in response.errors):
        response.expect(201, why="with a password of eight characters that keeps all rules")


@check("AUTH-029")
def a_name_is_one_line_that_ends(kit: Kit) -> None:
    for name, how in (
        ("Two\nlines", "with a name of two lines"),
        ("\u0007", "with a control character as its name"),
        ("n" * 256, "with a name of 256 characters"),
    ):
        _is_wrong(kit, {"name": name}, "name", how)


@check("AUTH-016")
def a_password_is_to_be_repeated(kit: Kit) -> None:
    for repeated in (f"Other-{kit.accounts.password}", kit.accounts.password.swapcase()):
        kit.secrets.add(repeated)
        _is_wrong(kit, {"password_confirmation": repeated}, "password", "with a repetition that differs")


@check("AUTH-017")
def an_address_has_one_account(kit: Kit) -> None:
    taken = kit.accounts.shared.sent["email"]
    for address in (taken, taken.upper()):
        _is_wrong(kit, {"email": address}, "email", "with an address that has an account")


@check("AUTH-018")
def unverified_accounts_can_be_read_only(kit: Kit) -> None:
    newcomer = _unverified(kit)
    for path in ("/user", "/user/tokens", "/usage", "/subscription"):
        newcomer.client.get(path).expect(200, why="before the e-mail address is verified")
    refused = [
        kit.images.try_upload(make_sample("png"), client=newcomer.client),
        kit.batches.try_create([make_sample("png")], client=newcomer.client),
        *(
            newcomer.client.request(method, path)
            for method, path in protected_operations()
            if path.startswith(("/images", "/batches")) and method != "POST"
        ),
    ]
    for response in refused:
        response.expect(403, why="before the e-mail address is verified")


@check("AUTH-019")
def only_the_owner_learns_that_it_is_unverified(kit: Kit) -> None:
    email = _unverified(kit).sent["email"]
    right = kit.accounts.log_in(email, kit.accounts.password)
    right.expect(403, why="for an unverified address, with the right password,")
    wrong = kit.accounts.log_in(email, kit.accounts.password.swapcase())
    wrong.expect(401, why="for an unverified address, with a wrong password,")


@check("AUTH-020")
def a_login_answers_a_token_that_works(kit: Kit) -> None:
    email, password = kit.callers.credentials
    responses = [_logged_in(kit, email, password), kit.accounts.log_in(email.swapcase(), password)]
    responses[1].expect(200, why="with the address in other upper and lower case")
    for response in responses:
        data = response.data
        expect_schema(
            ISSUED, {**data, "user": {"email_verified_at": None, **data["user"]}}, "POST /auth/login"
        )
    first, second = (kit.callers.with_token(response.data["token"]) for response in responses)
    expect(first.token != second.token, "Two logins are answered with the same token.")
    for client in (first, second):
        user = client.get("/user").expect(200, why="with a token of two logins, one after the other,").data
        expect_equal(
            user["id"], responses[0].data["user"]["id"], "The `id` of the account that was logged in to"
        )


@check("AUTH-021")
def nothing_tells_an_unknown_address(kit: Kit) -> None:
    email, _ = kit.callers.credentials
    unknown = kit.accounts.log_in(kit.accounts.registration_form()["email"], _wrong_password())
    wrong = kit.accounts.log_in(email, _wrong_password())  # the only wrong one for this account in a run
    nonsense = kit.accounts.log_in("no address at all", _wrong_password())
    for response, what in (
        (unknown, "an unknown address"),
        (wrong, "a wrong password"),
        (nonsense, "no address"),
    ):
        response.expect(401, why=f"with {what}")
        expect_bearer_challenge(response)
        expect(
            comparable_body(response) == comparable_body(unknown),
            f"The answer to a login with {what} differs from that for an unknown address.",
            expected=comparable_body(unknown),
            actual=comparable_body(response),
        )


@check("AUTH-022")
def a_login_names_what_is_missing(kit: Kit) -> None:
    address = kit.accounts.registration_form()["email"]
    for form, missing in (
        ({}, ("email", "password")),
        ({"email": address}, ("password",)),
        ({"password": _wrong_password()}, ("email",)),
    ):
        response = kit.transport.send("POST", "/auth/login", json=form)
        _names(response, missing, f"without {' and '.join(missing)}")


@check("AUTH-023")
def a_logout_ends_its_token(kit: Kit) -> None:
    client = kit.accounts.create().client
    _in_use(client)
    client.post("/auth/logout").expect(200)
    expect_revoked(client, "after its logout")


@check("AUTH-024")
def a_logout_ends_no_other_token(kit: Kit) -> None:
    staying, leaving = _session(kit), _session(kit)
    leaving.post("/auth/logout").expect(200)
    _still_open(kit, staying, "with a token of another login than the one that was logged out")


@check("AUTH-025")
def a_token_is_revoked_by_its_id(kit: Kit) -> None:
    staying = _session(kit)
    before = {token["id"] for token in _tokens(staying)}
    leaving = _session(kit)
    added = {token["id"] for token in _tokens(staying)} - before
    expect(added, "A token of a login is not in the list of tokens.")
    if len(added) > 1:  # the other may be somebody's
        raise Inconclusive("Somebody else logged in meanwhile, so that the kit cannot tell its own token.")
    path = f"/user/tokens/{added.pop()}"
    _in_use(leaving)
    staying.delete(path).expect(200)
    expect_revoked(leaving, "after it was revoked")
    for elsewhere in ("/images", "/usage"):
        leaving.get(elsewhere).expect(401, why="with a token after it was revoked")
    staying.get("/user").expect(200, why="with another token than the revoked one")
    listed = {token["id"] for token in _tokens(staying)} - before
    expect(not listed, "A revoked token is still in the list of tokens.", expected=[], actual=sorted(listed))
    staying.delete(path).expect(404, why="for the second time")


@check("AUTH-026")
def a_token_can_revoke_itself(kit: Kit) -> None:
    client = kit.accounts.create().client
    ids = [token["id"] for token in _tokens(client)]
    expect_equal(len(ids), 1, "The number of tokens of an account that was just registered")
    client.delete(f"/user/tokens/{ids[0]}").expect(200)
    expect_revoked(client, "after it revoked itself")


@check("AUTH-027")
def revoking_all_ends_those_of_the_account(kit: Kit) -> None:
    bystander = kit.accounts.create().client
    newcomer = kit.accounts.create()
    second = _second_token(kit, newcomer)
    _in_use(newcomer.client)
    newcomer.client.post("/auth/revoke-all").expect(200)
    for client in (newcomer.client, second):
        if client:
            expect_revoked(client, "after all tokens of its account were revoked")
    _still_open(kit, bystander, "after another account revoked all its tokens")


@check("AUTH-031")
def what_takes_no_body_looks_at_none(kit: Kit) -> None:
    for path, body, media_type in (
        ("/auth/logout", b"{", "application/json"),
        ("/auth/revoke-all", b"no JSON", "text/plain"),
    ):
        client = kit.accounts.create().client
        response = client.post(path, data=body, headers={"Content-Type": media_type})
        response.expect(200, why=f"with a body of {media_type} that is not to be looked at")
        expect_revoked(client, f"after POST {path} with a body")


@check("AUTH-032")
def all_of_a_password_counts(kit: Kit) -> None:
    right = f"{kit.accounts.password}-{secrets.token_hex(_LONG_PASSWORD)}"[:_LONG_PASSWORD]
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    kit.secrets.add(right)
    form = {**kit.accounts.registration_form(), "password": right, "password_confirmation": right}
    response = kit.accounts.register(form)
    if response.status == HTTPStatus.UNPROCESSABLE_ENTITY and set(response.errors) <= {
        "password",
        "password_confirmation",
    }:
        return  # the upper bound is the server's own, and nothing is cut where it lies lower
    if response.status == HTTPStatus.UNPROCESSABLE_ENTITY and set(response.errors) == {"email"}:
        raise Inconclusive(
            "The server takes no address of example.com (422 on `email`). Allow them for the run."
        )
    response.expect(201, why=f"with a password of {_LONG_PASSWORD} characters")
    logins = kit.accounts.log_in(form["email"], right), kit.accounts.log_in(form["email"], wrong)
    logins[0].expect(200, 403, why="with a long password")  # 403: its address is not verified
    logins[1].expect(401, why="with a long password whose last character is another")


@check("AUTH-033")
def first_tokens_have_all_abilities(kit: Kit) -> None:
    _may_do_all(_tokens(kit.accounts.shared.client)[-1:], "registration")
    before = {token["id"] for token in _tokens(kit.owner)}
    # Somebody else may make one meanwhile, with fewer.
    _may_do_all([token for token in _tokens(_session(kit)) if token["id"] not in before], "login")


@check("AUTH-034")
def a_token_tells_when_it_was_used(kit: Kit) -> None:
    client = kit.accounts.shared.client
    client.get("/user").expect(200)
    # How often it is noted is up to the server; it may be collected first.
    used = poll(
        lambda: _tokens(client)[-1].get("last_used_at"),
        lambda value: value is not None,
        timeout_seconds=min(kit.options.work_timeout, _NOTED_WITHIN),
    )
    expect(
        used is not None, "`last_used_at` of a token is null although it was used.", expected="`last_used_at`"
    )


def _may_do_all(tokens: list[dict[str, Any]], origin: str) -> None:
    """Raises Broken unless one of them has the four abilities."""
    given = [token["abilities"] for token in tokens]
    expect(
        any(isinstance(found, list) and all(ability in found for ability in ABILITIES) for found in given),
        f"The token of a {origin} lacks abilities.",
        expected=ABILITIES,
        actual=given,
    )


def _tokens(client: Client) -> list[dict[str, Any]]:
    tokens: list[dict[str, Any]] = client.get("/user/tokens").expect(200).data["tokens"]
    return tokens


def _is_the_registered(user: dict[str, Any], newcomer: NewAccount) -> None:
    expect_equal(user["name"], newcomer.sent["name"], "The `name` of the registered account")
    expect_equal(
        user["email"].lower(), newcomer.sent["email"].lower(), "The `email` of the registered account"
    )


def _names(response: Response, fields: tuple[str, ...], how: str) -> None:
    errors = response.expect(422, why=how).errors
    missing = [field for field in fields if field not in errors]
    expect(
        not missing,
        f"The 422 to {response.request_line} {how} does not name {' and '.join(missing)}.",
        expected=fields,
        actual=sorted(errors),
    )


def _names_one_of(response: Response, fields: tuple[str, ...], how: str) -> None:
    errors = response.expect(422, why=how).errors
    expect(
        set(fields) & set(errors),
        f"The 422 to {response.request_line} {how} names neither {' nor '.join(fields)}.",
        expected=fields,
        actual=sorted(errors),
    )


def _is_wrong(kit: Kit, changes: dict[str, str], field: str, how: str) -> None:
    """A registration that is right but for ``changes`` is refused for ``field``."""
    _names(kit.accounts.register({**kit.accounts.registration_form(), **changes}), (field,), how)


def _unverified(kit: Kit) -> NewAccount:
    newcomer = kit.accounts.shared
    if newcomer.user.get("email_verified_at") is not None:
        raise Inconclusive(
            "The server takes addresses as verified when they are registered. Let it ask for verification."
        )
    return newcomer


def _logged_in(kit: Kit, email: str, password: str) -> Response:
    response = kit.accounts.log_in(email, password)
    if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise Inconclusive(
            f"The server refuses --email and --password ({response.status}). Are they those of a verified account?"
        )
    return response.expect(200, why="with address and password of a verified account")


def _session(kit: Kit) -> Client:
    """Another login to the caller's account. Raises Skipped, and Inconclusive."""
    return kit.callers.with_token(_logged_in(kit, *kit.callers.credentials).data["token"])


def _second_token(kit: Kit, newcomer: NewAccount) -> Client | None:
    """One more token of the account, in use; None where the contract has no way to one.

    Its address is not verified, and the operation that makes tokens is an addition of Uprez's.
    """
    response = kit.accounts.log_in(newcomer.sent["email"], kit.accounts.password)
    if response.status != HTTPStatus.OK:
        response = kit.accounts.track_token(newcomer.client.post("/user/tokens", json={"name": kit.tag}))
    made = (
        response.json.get("data")
        if response.status in {HTTPStatus.OK, HTTPStatus.CREATED} and isinstance(response.json, dict)
        else None
    )
    token = made.get("token") if isinstance(made, dict) else None
    client = kit.callers.with_token(token) if isinstance(token, str) else None
    return client if client and client.get("/user").status == HTTPStatus.OK else None


def _in_use(client: Client) -> None:
    """A token may be remembered as good from its first use on, and that has to be forgotten when it ends."""
    client.get("/user").expect(200, why="with a token that is still valid")


def _wrong_password() -> str:
    return f"Wrong-{secrets.token_urlsafe(9)}-1"


def _still_open(kit: Kit, client: Client, why: str) -> None:
    response = client.get("/user")
    if (
        response.status == HTTPStatus.UNAUTHORIZED
        and kit.options.email
        and kit.owner.get("/user").status == HTTPStatus.UNAUTHORIZED
    ):
        kit.owner = _session(kit)  # all are ended, the caller's too: the run goes on with one of its own
    response.expect(200, why=why)
