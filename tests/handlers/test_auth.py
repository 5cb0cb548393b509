"""Tests of /auth: register, verify, log in, log out."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import pytest

from domain import accounts
from uprez import wiring

if TYPE_CHECKING:
    from tests.handlers.conftest import Client, FakeWorker, MakeUser, Server

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
    """Return the path of the verification link in the one mail to this address."""
    (text,) = server.mails_to(email)
    (link,) = re.findall(r"https?://\S+", text)
    assert link.startswith(server.settings.origin)
    return str(link.removeprefix(server.settings.origin))


# --- register


def test_register_returns_account_and_working_token(client: Client) -> None:
    form = registration()

    response = client.post("/api/auth/register", json=form)

    assert response.status == 201
    assert response.data["user"]["email"] == form["email"]
    assert response.data["user"]["email_verified_at"] is None
    assert response.data["user"]["pricing_plan"]["slug"] == "free"
    assert response.data["token_type"] == "Bearer"
    assert re.fullmatch(r"[1-9]\d*\|[A-Za-z0-9]{40}[0-9a-f]{8}", response.data["token"])
    assert client.get("/api/user", token=response.data["token"]).data == response.data["user"]


def test_missing_fields_are_returned_at_once(client: Client) -> None:
    response = client.post("/api/auth/register", json={})

    assert response.message == "Validation failed"
    assert response.errors == {
        "name": ["The name field is required."],
        "email": ["The email field is required."],
        "password": ["The password field is required."],
        "password_confirmation": ["The password confirmation field is required."],
    }


def test_all_problems_are_returned_at_once(client: Client, make_user: MakeUser) -> None:
    taken = make_user().email

    response = client.post(
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

    assert response.errors == {
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
    ("field", "value", "message"),
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
def test_invalid_field_returns_its_message(client: Client, field: str, value: object, message: str) -> None:
    response = client.post("/api/auth/register", json=registration(**{field: value}))

    assert message in response.errors[field]


def test_different_confirmation_is_an_error_on_the_password(client: Client) -> None:
    response = client.post("/api/auth/register", json=registration(password_confirmation="Correct-Horse-8"))

    assert response.errors == {"password": ["The password confirmation does not match."]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{}@example.com", "{}@EXAMPLE.com"),
        ("{}@example.com", "{}@Example.COM"),
        ("{}@bücher.example", "{}@xn--bcher-kva.example"),
    ],
)
def test_email_is_unique_in_any_spelling(client: Client, first: str, second: str) -> None:
    name = secrets.token_hex(6)
    assert client.post("/api/auth/register", json=registration(email=first.format(name))).status == 201

    response = client.post("/api/auth/register", json=registration(email=second.format(name.upper())))

    assert response.errors == {"email": ["The email has already been taken."]}


@pytest.mark.parametrize("name", ["Zoë 李 🙂", "Bcc: all@example.com", "../../etc/passwd", "<script>", "   "])
def test_account_name_is_stored_unchanged(client: Client, server: Server, name: str) -> None:
    response = client.post("/api/auth/register", json=registration(name=name))

    assert response.status == 201
    assert response.data["user"]["name"] == name
    photo = client.get(response.data["user"]["profile_photo_url"])
    assert photo.status == 200
    assert mailed_link(server, response.data["user"]["email"])


def test_internationalized_email_receives_mail(client: Client, server: Server) -> None:
    email = f"zoë.{secrets.token_hex(6)}@example.com"

    response = client.post("/api/auth/register", json=registration(email=email))

    assert response.status == 201
    assert mailed_link(server, email)


LEFT_OUT = object()


def test_token_is_named_after_device_or_user_agent(client: Client, server: Server) -> None:
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


def test_mailed_link_verifies_the_email_repeatedly(client: Client, server: Server) -> None:
    user = client.post("/api/auth/register", json=registration()).data
    link = mailed_link(server, user["user"]["email"])

    first = client.get(link)
    verified = client.get("/api/user", token=user["token"]).data
    second = client.get(link)

    assert (first.status, first.json) == (200, {"success": True, "message": "Email verified successfully"})
    assert second.json == first.json
    assert verified["email_verified_at"] is not None
    assert client.get("/api/user", token=user["token"]).data == verified


def test_browser_gets_a_page_from_the_mailed_link(client: Client, server: Server) -> None:
    user = client.post("/api/auth/register", json=registration()).data["user"]
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

    for _ in range(2):
        response = client.get(mailed_link(server, user["email"]), headers={"Accept": browser})

        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert b"verified" in response.body


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, text/html", "image/png", ""]
)
def test_other_clients_get_the_envelope(client: Client, server: Server, accept: str) -> None:
    user = client.post("/api/auth/register", json=registration()).data["user"]

    response = client.get(mailed_link(server, user["email"]), headers={"Accept": accept})

    assert response.json == {"success": True, "message": "Email verified successfully"}


def test_changed_link_returns_403_to_browsers_and_programs(client: Client, server: Server) -> None:
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
            response = client.get(changed, headers={"Accept": accept})
            assert response.status == 403, changed
            assert response.message == "This link is invalid or has expired."


def test_download_link_verifies_no_email(client: Client, server: Server, make_user: MakeUser) -> None:
    mallory = make_user(verified=False).account
    services = server.services
    expires_at = services.clock.now() + services.policy.download_link_lifetime
    signed = services.links.sign("download", {"id": mallory.id, "email": mallory.email}, expires_at)

    assert client.get(f"/api/auth/verify-email/{mallory.id}/{signed}").status == 403


def test_only_the_id_of_a_verification_link_is_an_id(client: Client) -> None:
    assert client.get("/api/auth/verify-email/5/005").status == 403
    assert client.get("/api/auth/verify-email/005/5").status == 404
    assert client.get("/api/auth/verify-email/005/005").status == 404


def test_expired_verification_link_returns_403(client: Client, server: Server, make_user: MakeUser) -> None:
    late = make_user(verified=False).account
    services = server.services
    expired = services.clock.now() - services.policy.download_link_lifetime
    signed = services.links.sign("verify-email", {"id": late.id, "email": late.email}, expired)

    assert client.get(f"/api/auth/verify-email/{late.id}/{signed}").status == 403


@pytest.mark.parametrize("account_id", ["0", "007", "-1", "9007199254740992", "x"])
def test_verification_link_with_invalid_id_returns_404(client: Client, account_id: str) -> None:
    for signed in ("x", "7", "0"):
        assert client.get(f"/api/auth/verify-email/{account_id}/{signed}").status == 404


# --- login


def test_login_returns_new_token_and_keeps_the_others(client: Client, make_user: MakeUser) -> None:
    jane = make_user()

    response = client.post("/api/auth/login", json={"email": jane.email.upper(), "password": jane.password})

    assert response.status == 200
    assert response.message == "Login successful"
    assert response.data["user"]["id"] == jane.account.id
    assert response.data["token"] != jane.token
    for token in (jane.token, response.data["token"]):
        assert client.get("/api/user", token=token).status == 200


def test_wrong_password_and_unknown_email_respond_alike(client: Client, make_user: MakeUser) -> None:
    jane = make_user()

    responses = [
        client.post("/api/auth/login", json={"email": email, "password": password})
        for email, password in [
            (jane.email, "wrong"),
            ("unknown@example.com", jane.password),
            ("no address", jane.password),
            (jane.email, "x" * 1024),
        ]
    ]

    assert {response.status for response in responses} == {401}
    assert {response.body for response in responses} == {responses[0].body}
    assert {response.headers["WWW-Authenticate"] for response in responses} == {"Bearer"}
    assert {tuple(sorted(response.headers.keys())) for response in responses} == {
        tuple(sorted(responses[0].headers.keys()))
    }


def test_unverified_email_is_revealed_only_with_the_password(client: Client, make_user: MakeUser) -> None:
    jane = make_user(verified=False)

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
def test_malformed_login_returns_every_field(client: Client, body: object, wrong: list[str]) -> None:
    response = client.request(
        "POST", "/api/auth/login", data=_json(body), headers={"Content-Type": "application/json"}
    )

    assert sorted(response.errors) == wrong


# --- logout


def test_logout_revokes_only_its_own_token(client: Client, make_user: MakeUser) -> None:
    jane = make_user()
    other = client.post("/api/auth/login", json={"email": jane.email, "password": jane.password}).data[
        "token"
    ]

    response = client.post("/api/auth/logout", token=jane.token)

    assert response.json == {"success": True, "message": "Logout successful"}
    assert client.get("/api/user", token=jane.token).status == 401
    assert client.post("/api/auth/logout", token=jane.token).status == 401
    assert client.get("/api/user", token=other).status == 200


def test_token_without_abilities_can_log_out(client: Client, make_user: MakeUser) -> None:
    weak = make_user(abilities=(), verified=False, plan="free")

    assert client.post("/api/auth/logout", token=weak.token).status == 200


@pytest.mark.parametrize("body", [b"{}", b"not json", b"x" * 100_000])
def test_logout_ignores_its_body(client: Client, make_user: MakeUser, body: bytes) -> None:
    headers = {"Content-Type": "text/plain"}

    assert client.post("/api/auth/logout", token=make_user().token, data=body, headers=headers).status == 200


def test_revoked_token_returns_401_in_every_process(
    client: Client, server: Server, make_user: MakeUser
) -> None:
    """A second process revokes the token; the server must not cache it."""
    jane = make_user()
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


def test_revoke_all_revokes_only_tokens_of_the_account(client: Client, make_user: MakeUser) -> None:
    jane, other = make_user(), make_user()
    login = {"email": jane.email, "password": jane.password}
    second = client.post("/api/auth/login", json=login).data["token"]

    response = client.post("/api/auth/revoke-all", token=jane.token)

    assert response.json == {"success": True, "message": "All tokens revoked successfully"}
    for token in (jane.token, second):
        assert client.get("/api/user", token=token).status == 401
        assert client.post("/api/auth/revoke-all", token=token).status == 401
    assert client.get("/api/user", token=other.token).status == 200


def test_login_works_after_revoke_all(client: Client, make_user: MakeUser) -> None:
    jane = make_user()
    client.post("/api/auth/revoke-all", token=jane.token)

    response = client.post("/api/auth/login", json={"email": jane.email, "password": jane.password})

    assert response.status == 200
    assert client.get("/api/user", token=response.data["token"]).status == 200


# A token can leak before the email is verified, and whatever its abilities are.
def test_token_without_abilities_can_revoke_all(client: Client, make_user: MakeUser) -> None:
    weak = make_user(abilities=(), verified=False, plan="free")

    assert client.post("/api/auth/revoke-all", token=weak.token).status == 200
    assert client.get("/api/user", token=weak.token).status == 401


def test_result_links_work_after_revoke_all(
    client: Client, make_user: MakeUser, worker: FakeWorker, png: bytes
) -> None:
    jane = make_user()
    image_id = client.upload(jane.token, png).data["id"]
    content = worker.complete(image_id)
    link = client.get(f"/api/images/{image_id}/download", token=jane.token).data["download_url"]

    client.post("/api/auth/revoke-all", token=jane.token)

    assert client.get(link).body == content


@pytest.mark.parametrize("body", [b"{}", b"not json", b"x" * 100_000])
def test_revoke_all_ignores_its_body(client: Client, make_user: MakeUser, body: bytes) -> None:
    headers = {"Content-Type": "text/plain"}

    response = client.post("/api/auth/revoke-all", token=make_user().token, data=body, headers=headers)

    assert response.status == 200
