"""Who is let in, with which token, for how long; and how one gets a token.

Nothing here revokes a token of the caller's: what is revoked, the kit got for itself. Requests without a valid
token are scarce, so core makes do with eight of them; which ones is drawn by the seed.
"""

from __future__ import annotations

import base64
import re
import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.contract import operations, problems
from conformance.pictures import picture
from conformance.verdicts import Inconclusive, expect, expect_equal

if TYPE_CHECKING:
    from conformance.accounts import Newcomer
    from conformance.client import Answer, Client
    from conformance.kit import Kit

OK, CREATED, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, UNPROCESSABLE, TOO_MANY = 200, 201, 401, 403, 404, 422, 429
NOBODYS = 2_147_000_000  # an id that no server has given out yet
_ASKED_LATER = 6  # requests without a token that AUTH-002 to AUTH-005 are going to make
_SHORTEST_SECRET = 8  # characters; a shorter one may stand in any text by chance
USER, TOKEN, ISSUED = (f"/components/schemas/{name}" for name in ("User", "Token", "IssuedToken"))


@check("AUTH-001")
def without_a_token_nobody_is_let_in(kit: Kit) -> None:
    count = max(1, min(2, kit.anonymous_left - _ASKED_LATER))
    drawn = kit.random.sample(_protected(), count)
    _refused([_asked_by_a_stranger(kit, *operation, None) for operation in drawn], "without a token")


@check("AUTH-002")
def an_invented_token_is_refused(kit: Kit) -> None:
    operation = kit.random.choice(_protected())
    answers = [_asked_by_a_stranger(kit, *operation, f"Bearer {_invented()}")]
    answers.append(kit.stranger("GET", "/user", f"Bearer {_damaged(kit)}"))
    _refused(answers, "with a token that nobody gave out")


@check("AUTH-003")
def a_refusal_names_the_scheme(kit: Kit) -> None:
    answer = kit.stranger("GET", "/user")
    _refused([answer], "without a token")
    _names_bearer(answer)


@check("AUTH-004")
def another_scheme_is_refused(kit: Kit) -> None:
    basic = base64.b64encode(b"nobody:nothing").decode()
    answers = [kit.stranger("GET", "/user", header) for header in (f"Basic {basic}", "Bearer")]
    _refused(answers, "with another scheme, or with nothing behind it,")


@check("AUTH-005")
def the_token_is_looked_at_first(kit: Kit) -> None:
    faulty: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/images/upscale", {"json": {"no": "picture"}}),
        ("POST", "/images/upscale", {"files": {"scale_facter": (None, "9")}}),
        ("POST", "/batches", {"data": b"--", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}),
        ("GET", "/images?per_page=0", {}),
        ("GET", f"/images/{NOBODYS}/download", {}),
    ]
    method, path, body = kit.random.choice(faulty)
    headers = body.pop("headers", {})
    answer = kit.transport.send(method, path, headers=headers, patient=False, **body)
    _refused([answer], "without a token, and with something else wrong,")


@check("AUTH-006")
def no_operation_forgets_the_token(kit: Kit) -> None:
    for operation in _protected():
        for authorization, how in (
            (None, "without a token"),
            (f"Bearer {_invented()}", "with an invented token"),
        ):
            answer = _asked_by_a_stranger(kit, *operation, authorization)
            answer.expect(UNAUTHORIZED, TOO_MANY, why=how)
            if answer.status == TOO_MANY:
                raise Inconclusive(_limit_reached("Only a part of the operations could be asked"))


@check("AUTH-007")
def a_token_opens_its_account(kit: Kit) -> None:
    user = kit.owner.get("/user").expect(OK, why="with a valid token").data
    _is_documented(USER, {"email_verified_at": None, **user}, "GET /user")


@check("AUTH-008")
def the_list_of_tokens_is_whole(kit: Kit) -> None:
    data = kit.owner.get("/user/tokens").expect(OK).data
    tokens = data["tokens"]
    for token in tokens:
        _is_documented(TOKEN, {"last_used_at": None, **token}, "GET /user/tokens, of a token,")
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
    keys = [(datetime.fromisoformat(token["created_at"]), token["id"]) for token in tokens]
    expect(
        keys == sorted(keys, reverse=True),
        "The tokens are not listed newest first.",
        expected=[token_id for _, token_id in sorted(keys, reverse=True)],
        actual=[token_id for _, token_id in keys],
    )


@check("AUTH-011")
def registering_answers_account_and_token(kit: Kit) -> None:
    newcomer = kit.accounts.known
    data = newcomer.registered.data
    _is_documented(
        ISSUED, {**data, "user": {"email_verified_at": None, **data["user"]}}, "POST /auth/register"
    )
    _is_the_registered(newcomer.user, newcomer)


@check("AUTH-012")
def the_first_token_works_at_once(kit: Kit) -> None:
    newcomer = kit.accounts.newcomer()
    user = newcomer.client.get("/user").expect(OK, why="right after the registration").data
    _is_the_registered(user, newcomer)
    expect_equal(user["id"], newcomer.user["id"], "The `id` of the account that the new token opens")
    names = [token["name"] for token in _tokens(newcomer.client)]
    expect_equal(names, [newcomer.sent["device_name"]], "What the tokens of a new account are called")


@check("AUTH-013")
def a_registration_names_what_is_missing(kit: Kit) -> None:
    required = ("name", "email", "password", "password_confirmation")
    nothing = kit.accounts.register({})
    _names(nothing, required[:3], "with nothing in it")
    for left_out in required:
        form = {name: value for name, value in kit.accounts.form().items() if name != left_out}
        answer = kit.accounts.register(form)
        if left_out == "password_confirmation":  # missing, or different: both can be said of it
            _names_one_of(answer, (left_out, "password"), f"without `{left_out}`")
        else:
            _names(answer, (left_out,), f"without `{left_out}`")


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


@check("AUTH-016")
def a_password_is_to_be_repeated(kit: Kit) -> None:
    for repeated in (f"Other-{kit.accounts.password}", kit.accounts.password.swapcase()):
        kit.secrets.add(repeated)
        _is_wrong(kit, {"password_confirmation": repeated}, "password", "with a repetition that differs")


@check("AUTH-017")
def an_address_has_one_account(kit: Kit) -> None:
    taken = kit.accounts.known.sent["email"]
    for address in (taken, taken.upper()):
        _is_wrong(kit, {"email": address}, "email", "with an address that has an account")


@check("AUTH-018")
def unverified_accounts_can_be_read_only(kit: Kit) -> None:
    newcomer = _unverified(kit)
    for path in ("/user", "/user/tokens", "/usage", "/subscription"):
        newcomer.client.get(path).expect(OK, why="before the e-mail address is verified")
    refused = [
        kit.try_upload(picture("png"), client=newcomer.client),
        kit.try_batch([picture("png")], client=newcomer.client),
        *(
            newcomer.client.request(method, path)
            for method, path in _protected()
            if path.startswith(("/images", "/batches")) and method != "POST"
        ),
    ]
    for answer in refused:
        answer.expect(FORBIDDEN, why="before the e-mail address is verified")


@check("AUTH-019")
def only_the_owner_learns_that_it_is_unverified(kit: Kit) -> None:
    email = _unverified(kit).sent["email"]
    right = kit.accounts.log_in(email, kit.accounts.password)
    right.expect(FORBIDDEN, why="for an unverified address, with the right password,")
    wrong = kit.accounts.log_in(email, _wrong_password())
    wrong.expect(UNAUTHORIZED, why="for an unverified address, with a wrong password,")


@check("AUTH-020")
def a_login_answers_a_token_that_works(kit: Kit) -> None:
    email, password = kit.credentials
    answers = [_logged_in(kit, email, password), kit.accounts.log_in(email.swapcase(), password)]
    answers[1].expect(OK, why="with the address in other upper and lower case")
    for answer in answers:
        data = answer.data
        _is_documented(
            ISSUED, {**data, "user": {"email_verified_at": None, **data["user"]}}, "POST /auth/login"
        )
    first, second = (kit.client(answer.data["token"]) for answer in answers)
    expect(first.token != second.token, "Two logins are answered with the same token.")
    for client in (first, second):
        user = client.get("/user").expect(OK, why="with a token of two logins, one after the other,").data
        expect_equal(
            user["id"], answers[0].data["user"]["id"], "The `id` of the account that was logged in to"
        )


@check("AUTH-021")
def nothing_tells_an_unknown_address(kit: Kit) -> None:
    email, _ = kit.credentials
    unknown = kit.accounts.log_in(kit.accounts.form()["email"], _wrong_password())
    wrong = kit.accounts.log_in(email, _wrong_password())  # the only wrong one for this account in a run
    nonsense = kit.accounts.log_in("no address at all", _wrong_password())
    for answer, what in (
        (unknown, "an unknown address"),
        (wrong, "a wrong password"),
        (nonsense, "no address"),
    ):
        answer.expect(UNAUTHORIZED, why=f"with {what}")
        _names_bearer(answer)
        expect(
            told(answer) == told(unknown),
            f"The answer to a login with {what} differs from that for an unknown address.",
            expected=told(unknown),
            actual=told(answer),
        )


@check("AUTH-022")
def a_login_names_what_is_missing(kit: Kit) -> None:
    address = kit.accounts.form()["email"]
    for form, missing in (
        ({}, ("email", "password")),
        ({"email": address}, ("password",)),
        ({"password": _wrong_password()}, ("email",)),
    ):
        answer = kit.transport.send("POST", "/auth/login", json=form)
        _names(answer, missing, f"without {' and '.join(missing)}")


@check("AUTH-023")
def a_logout_ends_its_token(kit: Kit) -> None:
    client = kit.accounts.newcomer().client
    client.post("/auth/logout").expect(OK)
    _opens_nothing(client, "after its logout")


@check("AUTH-024")
def a_logout_ends_no_other_token(kit: Kit) -> None:
    staying, leaving = _session(kit), _session(kit)
    leaving.post("/auth/logout").expect(OK)
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
    staying.delete(path).expect(OK)
    _opens_nothing(leaving, "after it was revoked")
    staying.get("/user").expect(OK, why="with another token than the revoked one")
    listed = {token["id"] for token in _tokens(staying)} - before
    expect(not listed, "A revoked token is still in the list of tokens.", expected=[], actual=sorted(listed))
    staying.delete(path).expect(NOT_FOUND, why="for the second time")


@check("AUTH-026")
def a_token_can_revoke_itself(kit: Kit) -> None:
    client = kit.accounts.newcomer().client
    ids = [token["id"] for token in _tokens(client)]
    expect_equal(len(ids), 1, "The number of tokens of an account that was just registered")
    client.delete(f"/user/tokens/{ids[0]}").expect(OK)
    _opens_nothing(client, "after it revoked itself")


@check("AUTH-027")
def revoking_all_ends_those_of_the_account(kit: Kit) -> None:
    bystander = kit.accounts.newcomer().client
    client = kit.accounts.newcomer().client
    client.post("/auth/revoke-all").expect(OK)
    _opens_nothing(client, "after all tokens of its account were revoked")
    _still_open(kit, bystander, "after another account revoked all its tokens")


@check("AUTH-028")
def a_token_in_the_address_is_not_taken(kit: Kit) -> None:
    token = kit.accounts.known.client.token
    answer = kit.stranger("GET", "/user", params=dict.fromkeys(("token", "access_token", "api_token"), token))
    _refused([answer], "with the token in the address only")


def told(answer: Answer, *ids: int) -> str:
    """The body of an answer without what may differ: the id of the request, and ``ids`` that were asked for."""
    request_id = answer.headers.get("x-request-id")
    text = str(answer.json)
    if request_id:
        text = text.replace(request_id, "…")
    for asked in ids:
        text = re.sub(rf"\b{asked}\b", "…", text)
    return text


def _protected() -> list[tuple[str, str]]:
    return [
        (method, path.replace("{id}", str(NOBODYS)))
        for method, path, operation in operations()
        if operation.get("security")
    ]


def _asked_by_a_stranger(kit: Kit, method: str, path: str, authorization: str | None) -> Answer:
    """With a good body where the operation takes one, so that nothing else is wrong."""
    part = picture("png").part
    bodies: dict[str, dict[str, Any]] = {
        "POST /images/upscale": {"files": {"image": part}},
        "POST /batches": {"files": [("images[]", part)], "data": {"name": kit.tag}},
    }
    return kit.stranger(method, path, authorization, **bodies.get(f"{method} {path}", {}))


def _refused(answers: list[Answer], how: str) -> None:
    """Raises Broken if one of them was let in, and Inconclusive if all are 429: that may mean anything."""
    for answer in answers:
        answer.expect(UNAUTHORIZED, TOO_MANY, why=how)
    if all(answer.status == TOO_MANY for answer in answers):
        raise Inconclusive(_limit_reached("None of the requests was answered with 401"))


def _limit_reached(what: str) -> str:
    return (
        f"{what}: the server has had enough requests without a valid token for this hour (429). "
        "Raise its limit for callers without a token for the run, or come back in an hour."
    )


def _names_bearer(answer: Answer) -> None:
    header = answer.headers.get("www-authenticate", "")
    expect(
        re.search(r"(?i)(^|[\s,])bearer\b", header),
        f"The 401 to {answer.asked} does not name, in WWW-Authenticate, the scheme Bearer.",
        expected="WWW-Authenticate: Bearer",
        actual=header or "no such header",
    )


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


def _tokens(client: Client) -> list[dict[str, Any]]:
    tokens: list[dict[str, Any]] = client.get("/user/tokens").expect(OK).data["tokens"]
    return tokens


def _is_documented(schema: str, instance: Any, where: str) -> None:
    found = problems(schema, instance)
    expect(not found, f"The answer to {where} is not as documented: {'; '.join(found)}.", actual=found)


def _is_the_registered(user: dict[str, Any], newcomer: Newcomer) -> None:
    expect_equal(user["name"], newcomer.sent["name"], "The `name` of the registered account")
    expect_equal(
        user["email"].lower(), newcomer.sent["email"].lower(), "The `email` of the registered account"
    )


def _names(answer: Answer, fields: tuple[str, ...], how: str) -> None:
    errors = answer.expect(UNPROCESSABLE, why=how).errors
    missing = [field for field in fields if field not in errors]
    expect(
        not missing,
        f"The 422 to {answer.asked} {how} does not name {' and '.join(missing)}.",
        expected=fields,
        actual=sorted(errors),
    )


def _names_one_of(answer: Answer, fields: tuple[str, ...], how: str) -> None:
    errors = answer.expect(UNPROCESSABLE, why=how).errors
    expect(
        set(fields) & set(errors),
        f"The 422 to {answer.asked} {how} names neither {' nor '.join(fields)}.",
        expected=fields,
        actual=sorted(errors),
    )


def _is_wrong(kit: Kit, changes: dict[str, str], field: str, how: str) -> None:
    """A registration that is right but for ``changes`` is refused for ``field``."""
    _names(kit.accounts.register({**kit.accounts.form(), **changes}), (field,), how)


def _unverified(kit: Kit) -> Newcomer:
    newcomer = kit.accounts.known
    if newcomer.user.get("email_verified_at") is not None:
        raise Inconclusive(
            "The server takes addresses as verified when they are registered. Let it ask for verification."
        )
    return newcomer


def _logged_in(kit: Kit, email: str, password: str) -> Answer:
    answer = kit.accounts.log_in(email, password)
    if answer.status in {UNAUTHORIZED, FORBIDDEN}:
        raise Inconclusive(
            f"The server refuses --email and --password ({answer.status}). Are they those of a verified account?"
        )
    return answer.expect(OK, why="with address and password of a verified account")


def _session(kit: Kit) -> Client:
    """Another login to the caller's account. Raises Skipped, and Inconclusive."""
    return kit.client(_logged_in(kit, *kit.credentials).data["token"])


def _wrong_password() -> str:
    return f"Wrong-{secrets.token_urlsafe(9)}-1"


def _opens_nothing(client: Client, when: str) -> None:
    answer = client.get("/user", patient=False)
    answer.expect(UNAUTHORIZED, TOO_MANY, why=f"with a token {when}")
    if answer.status == TOO_MANY:
        raise Inconclusive(_limit_reached("Whether the token is refused cannot be seen"))


def _still_open(kit: Kit, client: Client, why: str) -> None:
    answer = client.get("/user")
    if answer.status == UNAUTHORIZED and kit.options.email and kit.owner.get("/user").status == UNAUTHORIZED:
        kit.owner = _session(kit)  # all are ended, the caller's too: the run goes on with one of its own
    answer.expect(OK, why=why)
