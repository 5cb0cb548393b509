"""Checks of registration and of accounts whose address is not verified."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.access_checks import expect_schema, protected_operations
from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.requirements.auth_tokens import ISSUED_TOKEN, list_tokens
from conformance.requirements.rejections import expect_rejected_for_any
from conformance.verdicts import Inconclusive, expect_equal

if TYPE_CHECKING:
    from conformance.accounts import NewAccount
    from conformance.kit import Kit

_LONG_PASSWORD = 80  # characters; bcrypt uses only 72 bytes


@check("AUTH-011")
def check_registration(kit: Kit) -> None:
    """Check that a registration returns the account and a token."""
    account = kit.accounts.shared
    data = account.registration.expect(201, why="with valid fields").data
    user = {"email_verified_at": None, **data["user"]}
    expect_schema(ISSUED_TOKEN, {**data, "user": user}, "POST /auth/register")
    _expect_registered(account.user, account)


@check("AUTH-012")
def check_first_token_works(kit: Kit) -> None:
    """Check that the token of a registration works at once and has the requested label."""
    account = kit.accounts.create(device_name=f"{kit.tag}-label")
    user = account.client.get("/user").expect(200, why="directly after the registration").data
    _expect_registered(user, account)
    expect_equal(user["id"], account.user["id"], "The `id` of the account of the new token")
    names = [token["name"] for token in list_tokens(account.client)]
    expect_equal(names, [account.sent["device_name"]], "The list of token names of a new account")


@check("AUTH-013")
def check_missing_registration_fields(kit: Kit) -> None:
    """Check that a registration without any field, and without each field alone, returns 422 with an error
    for it. A missing confirmation may be reported on ``password``.
    """
    required = ("name", "email", "password", "password_confirmation")
    kit.accounts.register({}).expect_rejected(*required[:3], why="without any field")
    for omitted in required:
        form = {name: value for name, value in kit.accounts.registration_form().items() if name != omitted}
        response = kit.accounts.register(form)
        if omitted == "password_confirmation":  # a server may report it as missing or as different
            expect_rejected_for_any(response, omitted, "password", why=f"without `{omitted}`")
        else:
            response.expect_rejected(omitted, why=f"without `{omitted}`")


@check("AUTH-014")
def check_invalid_address(kit: Kit) -> None:
    """Check that an invalid email address is rejected."""
    for address in ("unknown.example.com", "@example.com", "unknown@"):
        _expect_registration_rejected(kit, {"email": address}, "email", f"with the address {address!r}")


@check("AUTH-015")
def check_password_rules(kit: Kit) -> None:
    """Check that a password that violates one rule returns 422 on ``password``, and that one of eight
    characters does not.
    """
    for password, violation in (
        ("Short-9", "of seven characters"),
        ("no-capital-letter-9", "without an uppercase letter"),
        ("NO-SMALL-LETTER-9", "without a lowercase letter"),
        ("No-Digit-In-Here", "without a digit"),
    ):
        changes = {"password": password, "password_confirmation": password}
        _expect_registration_rejected(kit, changes, "password", f"with a password {violation}")
    shortest = f"Aa1{secrets.token_hex(3)[:5]}"
    kit.secrets.add(shortest)
    form = {**kit.accounts.registration_form(), "password": shortest, "password_confirmation": shortest}
    response = kit.accounts.register(form)
    if not (response.status == HTTPStatus.UNPROCESSABLE_ENTITY and "password" not in response.errors):
        response.expect(201, why="with a valid password of eight characters")


@check("AUTH-016")
def check_password_confirmation(kit: Kit) -> None:
    """Check that a confirmation that differs from the password is rejected."""
    for confirmation in (f"Other-{kit.accounts.password}", kit.accounts.password.swapcase()):
        kit.secrets.add(confirmation)
        changes = {"password_confirmation": confirmation}
        _expect_registration_rejected(kit, changes, "password", "with another confirmation")


@check("AUTH-017")
def check_duplicate_address(kit: Kit) -> None:
    """Check that an address with an account, as it is and in capitals, returns 422 on ``email``."""
    registered = kit.accounts.shared.sent["email"]
    for address in (registered, registered.upper()):
        _expect_registration_rejected(kit, {"email": address}, "email", "with the address of an account")


@check("AUTH-018")
def check_unverified_account_is_restricted(kit: Kit) -> None:
    """Check that an account that is not verified can be read, and that all operations on images and batches
    return 403. Raise Inconclusive if the server verifies addresses at registration.
    """
    client = _unverified_account(kit).client
    why = "before the email address is verified"
    for path in ("/user", "/user/tokens", "/usage", "/subscription"):
        client.get(path).expect(200, why=why)
    kit.images.try_upload(make_sample("png"), client=client).expect(403, why=why)
    kit.batches.try_create([make_sample("png")], client=client).expect(403, why=why)
    for method, path in protected_operations():
        if path.startswith(("/images", "/batches")) and method != "POST":
            client.request(method, path).expect(403, why=why)


@check("AUTH-019")
def check_unverified_login(kit: Kit) -> None:
    """Check that a login to an unverified account returns 403 only for the correct password."""
    email = _unverified_account(kit).sent["email"]
    correct = kit.accounts.log_in(email, kit.accounts.password)
    correct.expect(403, why="for an unverified address with the correct password")
    wrong = kit.accounts.log_in(email, kit.accounts.password.swapcase())
    wrong.expect(401, why="for an unverified address with a wrong password")


@check("AUTH-029")
def check_invalid_name(kit: Kit) -> None:
    """Check that a name with two lines, with a control character or with 256 characters returns 422 on
    ``name``.
    """
    for name, why in (
        ("Two\nlines", "with a name of two lines"),
        ("\u0007", "with a control character as the name"),
        ("n" * 256, "with a name of 256 characters"),
    ):
        _expect_registration_rejected(kit, {"name": name}, "name", why)


@check("AUTH-030")
def check_default_label(kit: Kit) -> None:
    """Check that the token of a registration without a label has the run's User-Agent as its name."""
    account = kit.accounts.shared
    user_agent = account.registration.raw.request.headers["User-Agent"]
    expect_equal(_first_token(account)["name"], user_agent, "The name of a token without a label")


@check("AUTH-032")
def check_long_password(kit: Kit) -> None:
    """Check that a login fails with a password of 80 characters whose last character differs.

    Pass if the server rejects passwords of this length. Raise Inconclusive if it rejects the address.
    """
    correct = f"{kit.accounts.password}-{secrets.token_hex(_LONG_PASSWORD)}"[:_LONG_PASSWORD]
    wrong = correct[:-1] + ("0" if correct[-1] != "0" else "1")
    kit.secrets.add(correct)
    form = {**kit.accounts.registration_form(), "password": correct, "password_confirmation": correct}
    response = kit.accounts.register(form)
    if response.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        if set(response.errors) <= {"password", "password_confirmation"}:
            return  # a server may have a lower maximum, which it then enforces
        if set(response.errors) == {"email"}:
            raise Inconclusive(
                "The server rejects addresses of example.com (422 on `email`). Allow them for the run."
            )
    response.expect(201, why=f"with a password of {_LONG_PASSWORD} characters")
    logins = kit.accounts.log_in(form["email"], correct), kit.accounts.log_in(form["email"], wrong)
    logins[0].expect(200, 403, why="with a long password")  # 403: its address is not verified
    logins[1].expect(401, why="with a long password whose last character differs")


def _first_token(account: NewAccount) -> dict[str, Any]:
    """Return the last token of the account's list: the one of its registration."""
    return list_tokens(account.client)[-1]


def _expect_registered(user: dict[str, Any], account: NewAccount) -> None:
    """Fail unless name and email address are those that were sent; the case of the address does not matter."""
    expect_equal(user["name"], account.sent["name"], "The `name` of the registered account")
    email = account.sent["email"].lower()
    expect_equal(user["email"].lower(), email, "The `email` of the registered account")


def _expect_registration_rejected(kit: Kit, changes: dict[str, str], field: str, why: str) -> None:
    """Raise CheckFailed unless a registration with these changes is rejected with an error on the field."""
    form = {**kit.accounts.registration_form(), **changes}
    kit.accounts.register(form).expect_rejected(field, why=why)


def _unverified_account(kit: Kit) -> NewAccount:
    """Return the run's registered account. Raise Inconclusive if the server has verified its address already."""
    account = kit.accounts.shared
    if account.user.get("email_verified_at") is not None:
        raise Inconclusive("The server verifies addresses at registration. Make it require a verification.")
    return account
