"""Registration, login, tokens, and the account itself."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import TYPE_CHECKING, Any

from independent.envelope import ApiError
from independent.lists import Lists
from independent.records import Account, Success, Token

if TYPE_CHECKING:
    from independent.envelope import Errors
    from independent.records import Caller

ABILITIES = ["images:read", "images:write", "images:delete", "user:read"]
MAX_TEXT_LENGTH, MAX_PASSWORD_LENGTH = 255, 1024


class Accounts(Lists):
    """The operations below ``/auth`` and ``/user``."""

    def register(self, request: Any, fields: dict[str, Any]) -> Success:
        """Create an account on the free plan with its first token. Raise ``ApiError`` with 422 for invalid fields."""
        known = {"name", "email", "password", "password_confirmation", "device_name"}
        errors = self.text_errors(fields, known, optional={"device_name"})
        self.add_account_errors(fields, errors)
        if errors:
            raise self.invalid(errors)
        account = self.new_account(fields["name"], fields["email"], fields["password"], plan="free")
        return Success(
            "Registered. Please verify your address.", self.login_data(request, account, fields), 201
        )

    def add_account_errors(self, fields: dict[str, Any], errors: Errors) -> None:
        """Validate name, email and password, and add to ``errors``."""
        if "name" not in errors and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in fields["name"]):
            errors["name"] = ["The name must be one line."]
        if "email" not in errors:
            if not self.is_email(fields["email"]):
                errors["email"] = ["The email must be a valid address."]
            elif self.find_account(fields["email"]):
                errors["email"] = ["The email has already been taken."]
        if "password" not in errors:
            found = self.password_errors(fields["password"])
            if fields["password"] != fields.get("password_confirmation", fields["password"]):
                found.append("The password confirmation does not match.")
            if found:
                errors["password"] = found

    def is_email(self, email: str) -> bool:
        """Return True if the text has the form of an email address."""
        return re.fullmatch(r"[^@\s.,;<>\"]+(\.[^@\s.,;<>\"]+)*@([\w-]+\.)+\w{2,}", email) is not None

    def password_errors(self, password: str) -> list[str]:
        """Return a message for each rule that the password breaks."""
        rules = [
            (len(password) >= 8, "The password must be at least 8 characters."),
            (password.lower() != password and password.upper() != password, "It must be of mixed case."),
            (any(c.isdecimal() for c in password), "The password must contain a number."),
        ]
        return [message for holds, message in rules if not holds]

    def login(self, request: Any, fields: dict[str, Any]) -> Success:
        """Issue a token. Raise ``ApiError`` with 401 for wrong credentials, 403 for an unverified account."""
        errors = self.text_errors(fields, {"email", "password", "device_name"}, optional={"device_name"})
        if errors:
            raise self.invalid(errors)
        account = self.find_account(fields["email"])
        if account is None or not self.is_password_correct(account, fields["password"]):
            raise self.unauthenticated(self.login_failure(account))
        if not self.is_verified(account):
            raise ApiError(403, "Your email address is not verified.")
        return Success("Login successful", self.login_data(request, account, fields))

    def login_failure(self, account: Account | None) -> str:
        """Return the message of a failed login. ``account`` is None if the address is unknown."""
        return "The credentials are wrong."

    def is_password_correct(self, account: Account, password: str) -> bool:
        """Return True if the password is the account's."""
        return hmac.compare_digest(account.password.encode(), password.encode())

    def find_account(self, email: str) -> Account | None:
        """Return the account with this address."""
        return next((one for one in self.accounts.values() if one.email == self.normalize_email(email)), None)

    def normalize_email(self, email: str) -> str:
        """Return the address in lower case, without surrounding spaces."""
        return email.strip().lower()

    def text_errors(self, fields: dict[str, Any], known: set[str], optional: set[str]) -> Errors:
        """Return the errors of unknown, missing and overlong fields and of fields that are not text."""
        errors = self.unknown_field_errors(fields, known)
        for name in sorted(known):
            value = fields.get(name)
            longest = MAX_PASSWORD_LENGTH if name.startswith("password") else MAX_TEXT_LENGTH
            if value is None and name in optional:
                continue
            if value is None or value == "":
                if name not in optional:
                    errors[name] = [f"The {name} field is required."]
            elif not isinstance(value, str) or len(value) > longest:
                errors[name] = [f"The {name} must be text of at most {longest} characters."]
        return errors

    def new_account(
        self, name: str, email: str, password: str, *, plan: str, verified: bool = False
    ) -> Account:
        """Store an account and return it."""
        now = self.now()
        account = Account(
            self.new_id("account"), name, self.normalize_email(email), password, plan, now,
            verified_at=now if verified else None, quota=self.quota if plan == "enterprise" else 2,
        )  # fmt: skip
        self.accounts[account.id] = account
        return account

    def login_data(self, request: Any, account: Account, fields: dict[str, Any]) -> dict[str, Any]:
        """Issue a token and return the data of a login. The token has the device's name or the User-Agent."""
        name = (
            fields.get("device_name") or request.get_header("User-Agent", "")[:MAX_TEXT_LENGTH] or "unnamed"
        )
        token = self.issue_token(account, name)
        return {"user": self.user_data(account), "token": token, "token_type": "Bearer"}

    def issue_token(self, account: Account, name: str) -> str:
        """Store a new token and return its plain text."""
        number = self.new_id("token")
        secret = f"{number}|{secrets.token_urlsafe(30)}"
        self.tokens_by_secret[secret] = Token(number, account, name, secret, self.now())
        return secret

    def revoke_token(self, token: Token) -> None:
        """Make the token invalid."""
        self.tokens_by_secret.pop(token.secret, None)

    def account_tokens(self, account: Account) -> list[Token]:
        """Return the valid tokens of the account, newest first."""
        found = [token for token in self.tokens_by_secret.values() if token.account is account]
        return self.newest_first(found)

    def logout(self, request: Any, caller: Caller) -> Success:
        """Revoke the token of the request."""
        self.revoke_token(caller.token)
        return Success("Logout successful")

    def revoke_all(self, request: Any, caller: Caller) -> Success:
        """Revoke all tokens of the account."""
        for token in self.account_tokens(caller.account):
            self.revoke_token(token)
        return Success("All tokens revoked successfully")

    def list_tokens(self, request: Any, caller: Caller) -> Success:
        """List the tokens of the account."""
        found = [self.token_data(token) for token in self.account_tokens(caller.account)]
        return Success("API tokens retrieved successfully", {"tokens": found, "count": len(found)})

    def token_data(self, token: Token) -> dict[str, Any]:
        """Return a token as the list shows it."""
        return {
            "id": token.id,
            "name": token.name,
            "abilities": ABILITIES,
            "last_used_at": self.time_text(token.last_used_at),
            "created_at": self.time_text(token.created_at),
        }

    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        """Revoke one token of the account."""
        valid = {token.id: token for token in self.tokens_by_secret.values()}
        self.revoke_token(self.find_owned(valid, number, caller.account))
        return Success("Token revoked successfully")

    def show_user(self, request: Any, caller: Caller) -> Success:
        """Show the caller's account."""
        return Success("User retrieved successfully", self.user_data(caller.account))

    def user_data(self, account: Account) -> dict[str, Any]:
        """Return an account as the API shows it."""
        return {
            "id": account.id,
            "name": account.name,
            "email": account.email,
            "email_verified_at": self.time_text(account.verified_at),
            "profile_photo_url": "https://example.com/user.png",
            "created_at": self.time_text(account.created_at),
            "updated_at": self.time_text(account.verified_at or account.created_at),
            "pricing_plan": {
                "id": 4 if account.plan == "enterprise" else 1,
                "name": account.plan.title(),
                "slug": account.plan,
            },
        }
