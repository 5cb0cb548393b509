"""/auth: register, verify, login, logout."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import pytest

from domain import accounts
from uprez import wiring

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, MakePerson, Server, Work

PASSWORD = "Correct-Horse-9"
NO_CONTROLS = "The name must not contain line breaks or other control characters."


def registration(**changes: object) -> dict[str, object]:
    return {
        "name": "Jane Smith",
        "email": f"{secrets.token_hex(6)}@example.com",
        "password": PASSWORD,
        "password_confirmation": PASSWORD,
        **changes,
    }


def mailed_link(server: Server, email: str) -> str:
    """The path of the verification link in the one mail to this address."""
    (text,) = server.mails_to(email)
    (link,) = re.findall(r"https?://\S+", text)
    assert link.startswith(server.settings.origin)
    return str(link.removeprefix(server.settings.origin))


# --- register


def test_registering_answers_the_account_and_a_token_that_works_at_once(client: Client) -> None:
    form = registration()

    reply = client.post("/api/auth/register", json=form)

    assert reply.status == 201
    assert reply.data["user"]["email"] == form["email"]
    assert reply.data["user"]["email_verified_at"] is None
    assert reply.data["user"]["pricing_plan"]["slug"] == "free"
    assert reply.data["token_type"] == "Bearer"
    assert re.fullmatch(r"[1-9]\d*\|[A-Za-z0-9]{40}[0-9a-f]{8}", reply.data["token"])
    assert client.get("/api/user", token=reply.data["token"]).data == reply.data["user"]


def test_everything_that_is_missing_is_named_at_once(client: Client) -> None:
    reply = client.post("/api/auth/register", json={})

    assert reply.message == "Validation failed"
    assert reply.errors == {
        "name": ["The name field is required."],
        "email": ["The email field is required."],
        "password": ["The password field is required."],
        "password_confirmation": ["The password confirmation field is required."],
    }


def test_everything_that_is_wrong_is_named_at_once(client: Client, person: MakePerson) -> None:
    taken = person().email

    reply = client.post(
        "/api/auth/register",
        json={
            "name": "x" * 256,
            "email": taken.upper(),
            "password": "abc",
            "password_confirmation": "abd",
            "device_name": 7,
            "is_admin": True,
        },
    )

    assert reply.errors == {
        "name": ["The name must not be greater than 255 characters."],
        "email": ["The email has already been taken."],
        "password": [
            "The password must be at least 8 characters.",
            "The password must contain at least one uppercase and one lowercase letter.",
            "The password must contain at least one number.",
            "The password confirmation does not match.",
        ],
        "device_name": ["The device name must be a string."],
        "is_admin": ["The is admin field is not known."],
    }


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "", "The name field is required."),
        ("name", None, "The name field is required."),
        ("name", 7, "The name must be a string."),
        ("name", "Jane\r\nBcc: all@example.com", NO_CONTROLS),
        ("name", "Jane\n", NO_CONTROLS),
        ("name", "Jane\u2028", NO_CONTROLS),
        ("name", "\x7f", NO_CONTROLS),
        ("email", "@", "The email must be a valid email address."),
        ("email", "jane@", "The email must be a valid email address."),
        ("email", "jane@exa mple.com", "The email must be a valid email address."),
        ("email", "jane@example.com\nBcc: all@example.com", "The email must be a valid email address."),
        ("email", ["jane@example.com"], "The email must be a string."),
        ("email", "j" * 250 + "@example.com", "The email must not be greater than 255 characters."),
        ("password", "Sh0rt", "The password must be at least 8 characters."),
        (
            "password",
            "no-capital-1",
            "The password must contain at least one uppercase and one lowercase letter.",
        ),
        ("password", "No-number-in-it", "The password must contain at least one number."),
        ("password", "Aa1" * 400, "The password must not be greater than 1024 characters."),
        ("password", {}, "The password must be a string."),
        ("password_confirmation", None, "The password confirmation field is required."),
        ("device_name", "x" * 256, "The device name must not be greater than 255 characters."),
    ],
)
def test_a_wrong_field_has_its_sentence(client: Client, field: str, value: object, sentence: str) -> None:
    reply = client.post("/api/auth/register", json=registration(**{field: value}))

    assert sentence in reply.errors[field]


def test_a_confirmation_that_differs_is_an_error_on_the_password(client: Client) -> None:
    reply = client.post("/api/auth/register", json=registration(password_confirmation="Correct-Horse-8"))

    assert reply.errors == {"password": ["The password confirmation does not match."]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{}@example.com", "{}@EXAMPLE.com"),
        ("{}@example.com", "{}@Example.COM"),
        ("{}@bücher.example", "{}@xn--bcher-kva.example"),
    ],
)
def test_one_address_has_one_account_however_it_is_written(client: Client, first: str, second: str) -> None:
    name = secrets.token_hex(6)
    assert client.post("/api/auth/register", json=registration(email=first.format(name))).status == 201

    reply = client.post("/api/auth/register", json=registration(email=second.format(name.upper())))

    assert reply.errors == {"email": ["The email has already been taken."]}


@pytest.mark.parametrize("name", ["Zoë 李 🙂", "Bcc: all@example.com", "../../etc/passwd", "<script>", "   "])
def test_any_name_is_kept_as_it_is(client: Client, server: Server, name: str) -> None:
    reply = client.post("/api/auth/register", json=registration(name=name))

    assert reply.status == 201
    assert reply.data["user"]["name"] == name
    photo = client.get(reply.data["user"]["profile_photo_url"])
    assert photo.status == 200
    assert mailed_link(server, reply.data["user"]["email"])


def test_an_address_with_its_own_letters_gets_its_mail(client: Client, server: Server) -> None:
    email = f"zoë.{secrets.token_hex(6)}@example.com"

    reply = client.post("/api/auth/register", json=registration(email=email))

    assert reply.status == 201
    assert mailed_link(server, email)


LEFT_OUT = object()


def test_a_token_is_named_after_the_device_or_the_user_agent(client: Client, server: Server) -> None:
    for device, agent, expected in [
        ("Jane's laptop", "curl/8", "Jane's laptop"),
        ("", "curl/8", "curl/8"),
        (None, "curl/8", "curl/8"),
        (LEFT_OUT, "x" * 300, "x" * 255),
    ]:
        form = registration() if device is LEFT_OUT else registration(device_name=device)
        token = client.post("/api/auth/register", json=form, headers={"User-Agent": agent}).data["token"]
        with server.services.database.reading() as work:
            found = work.tokens.with_account(int(token.partition("|")[0]))
        assert found is not None
        assert found[0].name == expected


# --- verify


def test_the_mailed_link_verifies_the_address_and_answers_the_same_twice(
    client: Client, server: Server
) -> None:
    user = client.post("/api/auth/register", json=registration()).data
    link = mailed_link(server, user["user"]["email"])

    first = client.get(link)
    verified = client.get("/api/user", token=user["token"]).data
    second = client.get(link)

    assert (first.status, first.json) == (200, {"success": True, "message": "Email verified successfully"})
    assert second.json == first.json
    assert verified["email_verified_at"] is not None
    assert client.get("/api/user", token=user["token"]).data == verified


def test_a_browser_gets_a_page_from_the_mailed_link(client: Client, server: Server) -> None:
    user = client.post("/api/auth/register", json=registration()).data["user"]
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

    for _ in range(2):
        reply = client.get(mailed_link(server, user["email"]), headers={"Accept": browser})

        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert b"verified" in reply.body


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, text/html", "image/png", ""]
)
def test_any_other_client_gets_the_envelope(client: Client, server: Server, accept: str) -> None:
    user = client.post("/api/auth/register", json=registration()).data["user"]

    reply = client.get(mailed_link(server, user["email"]), headers={"Accept": accept})

    assert reply.json == {"success": True, "message": "Email verified successfully"}


def test_a_changed_link_is_refused_to_browsers_and_programs_alike(client: Client, server: Server) -> None:
    user = client.post("/api/auth/register", json=registration()).data["user"]
    link = mailed_link(server, user["email"])
    for changed in (
        link[:-1] + ("A" if link[-1] != "A" else "B"),
        link.replace(f"/{user['id']}/", f"/{user['id'] + 1}/"),
        link.replace(f"/{user['id']}/", "/9007199254740991/"),
        link + "x",
        f"/api/auth/verify-email/{user['id']}/x",
        f"/api/auth/verify-email/{user['id']}/%FF%00",
    ):
        for accept in ("application/json", "text/html"):
            reply = client.get(changed, headers={"Accept": accept})
            assert reply.status == 403, changed
            assert reply.message == "This link is invalid or has expired."


def test_a_link_for_a_download_verifies_nothing(client: Client, server: Server, person: MakePerson) -> None:
    mallory = person(verified=False).account
    services = server.services
    expires_at = services.clock.now() + services.policy.download_link_lifetime
    signed = services.links.sign("download", {"id": mallory.id, "email": mallory.email}, expires_at)

    assert client.get(f"/api/auth/verify-email/{mallory.id}/{signed}").status == 403


def test_only_the_id_of_a_link_is_read_as_an_id(client: Client) -> None:
    assert client.get("/api/auth/verify-email/5/005").status == 403
    assert client.get("/api/auth/verify-email/005/5").status == 404
    assert client.get("/api/auth/verify-email/005/005").status == 404


def test_an_expired_link_verifies_nothing(client: Client, server: Server, person: MakePerson) -> None:
    late = person(verified=False).account
    services = server.services
    expired = services.clock.now() - services.policy.download_link_lifetime
    signed = services.links.sign("verify-email", {"id": late.id, "email": late.email}, expired)

    assert client.get(f"/api/auth/verify-email/{late.id}/{signed}").status == 403


@pytest.mark.parametrize("account_id", ["0", "007", "-1", "9007199254740992", "x"])
def test_a_link_without_an_id_is_no_route(client: Client, account_id: str) -> None:
    for signed in ("x", "7", "0"):
        assert client.get(f"/api/auth/verify-email/{account_id}/{signed}").status == 404


# --- login


def test_logging_in_answers_a_new_token_and_leaves_the_others_valid(
    client: Client, person: MakePerson
) -> None:
    jane = person()

    reply = client.post("/api/auth/login", json={"email": jane.email.upper(), "password": jane.password})

    assert reply.status == 200
    assert reply.message == "Login successful"
    assert reply.data["user"]["id"] == jane.account.id
    assert reply.data["token"] != jane.token
    for token in (jane.token, reply.data["token"]):
        assert client.get("/api/user", token=token).status == 200


def test_a_wrong_password_and_an_unknown_address_are_answered_alike(
    client: Client, person: MakePerson
) -> None:
    jane = person()

    replies = [
        client.post("/api/auth/login", json={"email": email, "password": password})
        for email, password in [
            (jane.email, "wrong"),
            ("nobody@example.com", jane.password),
            ("no address", jane.password),
            (jane.email, "x" * 1024),
        ]
    ]

    assert {reply.status for reply in replies} == {401}
    assert {reply.body for reply in replies} == {replies[0].body}
    assert {reply.headers["WWW-Authenticate"] for reply in replies} == {"Bearer"}
    assert {tuple(sorted(reply.headers.keys())) for reply in replies} == {
        tuple(sorted(replies[0].headers.keys()))
    }


def test_only_who_knows_the_password_hears_that_the_address_is_not_verified(
    client: Client, person: MakePerson
) -> None:
    jane = person(verified=False)

    right = client.post("/api/auth/login", json={"email": jane.email, "password": jane.password})
    wrong = client.post("/api/auth/login", json={"email": jane.email, "password": "wrong"})

    assert (right.status, right.message) == (403, "Your email address is not verified.")
    assert wrong.status == 401


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["email", "password"]),
        ({"email": "jane@example.com"}, ["password"]),
        ({"email": "", "password": ""}, ["email", "password"]),
        ({"email": 7, "password": True}, ["email", "password"]),
        ({"email": "jane@example.com", "password": "x", "remember": True}, ["remember"]),
        ({"email": "jane@example.com", "password": "x" * 1025}, ["password"]),
        ({"email": "jane@example.com", "password": "x", "device_name": []}, ["device_name"]),
        ([], ["body"]),
        ("text", ["body"]),
        (None, ["body"]),
        (7, ["body"]),
    ],
)
def test_a_login_of_the_wrong_form_names_every_field(client: Client, body: object, wrong: list[str]) -> None:
    reply = client.request(
        "POST", "/api/auth/login", data=_json(body), headers={"Content-Type": "application/json"}
    )

    assert sorted(reply.errors) == wrong


# --- logout


def test_logging_out_revokes_this_token_at_once_and_no_other(client: Client, person: MakePerson) -> None:
    jane = person()
    other = client.post("/api/auth/login", json={"email": jane.email, "password": jane.password}).data[
        "token"
    ]

    reply = client.post("/api/auth/logout", token=jane.token)

    assert reply.json == {"success": True, "message": "Logout successful"}
    assert client.get("/api/user", token=jane.token).status == 401
    assert client.post("/api/auth/logout", token=jane.token).status == 401
    assert client.get("/api/user", token=other).status == 200


def test_a_token_without_any_ability_may_log_itself_out(client: Client, person: MakePerson) -> None:
    weak = person(abilities=(), verified=False, plan="free")

    assert client.post("/api/auth/logout", token=weak.token).status == 200


@pytest.mark.parametrize("body", [b"{}", b"not json", b"x" * 100_000])
def test_a_body_sent_with_logout_is_not_looked_at(client: Client, person: MakePerson, body: bytes) -> None:
    headers = {"Content-Type": "text/plain"}

    assert client.post("/api/auth/logout", token=person().token, data=body, headers=headers).status == 200


def test_a_revoked_token_is_refused_by_every_process(
    client: Client, server: Server, person: MakePerson
) -> None:
    """Another process has no memory of tokens that this one could keep."""
    jane = person()
    assert client.get("/api/user", token=jane.token).status == 200
    elsewhere = wiring.make_services(server.settings)
    principal = accounts.tokens.authenticate(elsewhere.database, jane.token, elsewhere.clock.now())

    accounts.log_out(elsewhere, principal)
    elsewhere.database.close()

    assert client.get("/api/user", token=jane.token).status == 401


def _json(value: object) -> bytes:
    import json  # noqa: PLC0415

    return json.dumps(value).encode()


# --- revoke-all


def test_revoking_all_ends_every_token_at_once_and_nobody_elses(client: Client, person: MakePerson) -> None:
    jane, other = person(), person()
    login = {"email": jane.email, "password": jane.password}
    second = client.post("/api/auth/login", json=login).data["token"]

    reply = client.post("/api/auth/revoke-all", token=jane.token)

    assert reply.json == {"success": True, "message": "All tokens revoked successfully"}
    for token in (jane.token, second):
        assert client.get("/api/user", token=token).status == 401
        assert client.post("/api/auth/revoke-all", token=token).status == 401
    assert client.get("/api/user", token=other.token).status == 200


def test_whoever_revoked_all_can_log_in_again(client: Client, person: MakePerson) -> None:
    jane = person()
    client.post("/api/auth/revoke-all", token=jane.token)

    reply = client.post("/api/auth/login", json={"email": jane.email, "password": jane.password})

    assert reply.status == 200
    assert client.get("/api/user", token=reply.data["token"]).status == 200


# A token may be in wrong hands before the address is verified, and whatever it may do.
def test_a_token_without_any_ability_may_revoke_all(client: Client, person: MakePerson) -> None:
    weak = person(abilities=(), verified=False, plan="free")

    assert client.post("/api/auth/revoke-all", token=weak.token).status == 200
    assert client.get("/api/user", token=weak.token).status == 401


def test_links_to_results_stay_good_when_all_is_revoked(
    client: Client, person: MakePerson, work: Work, png: bytes
) -> None:
    jane = person()
    image_id = client.upload(jane.token, png).data["id"]
    content = work.complete(image_id)
    link = client.get(f"/api/images/{image_id}/download", token=jane.token).data["download_url"]

    client.post("/api/auth/revoke-all", token=jane.token)

    assert client.get(link).body == content


@pytest.mark.parametrize("body", [b"{}", b"not json", b"x" * 100_000])
def test_a_body_sent_with_revoke_all_is_not_looked_at(
    client: Client, person: MakePerson, body: bytes
) -> None:
    headers = {"Content-Type": "text/plain"}

    reply = client.post("/api/auth/revoke-all", token=person().token, data=body, headers=headers)

    assert reply.status == 200
