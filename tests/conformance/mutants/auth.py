"""Mutants of the AUTH requirements: authentication, registration, login and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from independent.envelope import ApiError, Errors
from independent.records import Account, Caller, Success, Token
from independent.server import MAX_JSON_BYTES, Server
from mutants import mutant
from mutants.authz import HandsOutTokens

if TYPE_CHECKING:
    from independent.records import Route


class GuestAccess(Server):
    """A server with a guest account, for requests that it wrongly accepts."""

    def guest_token(self) -> Token:
        account = Account(
            999, "Guest", "guest@example.com", "", "enterprise", self.now(), self.now(), quota=9
        )
        return Token(999, account, "guest", "", self.now())

    def guest_caller(self) -> Caller:
        token = self.guest_token()
        return Caller(token.account, token)


@mutant("accepts-missing-token", kills=["AUTH-001"])
class AcceptsMissingToken(GuestAccess):
    def authenticate(self, request: Any) -> Caller:
        return super().authenticate(request) if request.get_header("Authorization") else self.guest_caller()


@mutant("accepts-any-token", kills=["AUTH-002"])
class AcceptsAnyToken(GuestAccess):
    def find_token(self, secret: str) -> Token | None:
        return super().find_token(secret) or (self.guest_token() if secret else None)


@mutant("compares-token-prefix-only", kills=["AUTH-002"])
class ComparesTokenPrefixOnly(Server):
    def find_token(self, secret: str) -> Token | None:
        tokens = self.tokens_by_secret.values()
        return next((token for token in tokens if token.secret[:12] == secret[:12]), None)


@mutant("wrong-www-authenticate-scheme", kills=["AUTH-003"])
class WrongWwwAuthenticateScheme(Server):
    def challenge(self) -> str:
        return 'Basic realm="somewhere"'


@mutant("other-auth-scheme-returns-500", kills=["AUTH-004"])
class OtherAuthSchemeReturns500(Server):
    def authenticate(self, request: Any) -> Caller:
        header = request.get_header("Authorization", "Bearer x")
        if not header.startswith("Bearer "):
            raise ApiError(500, "Server error")
        return super().authenticate(request)


@mutant("validates-before-authenticating", kills=["AUTH-005"])
class ValidatesBeforeAuthenticating(Server):
    def authenticate(self, request: Any) -> Caller:
        if not request.get_header("Authorization"):
            if request.path.rpartition("/")[2] in {"upscale", "batches"} and request.method == "POST":
                raise self.invalid({"image": ["The image field is required."]})
            if request.path.endswith("/download"):
                raise self.not_found()
            self.parse_paging(parse_qsl(request.query_string), ())
        return super().authenticate(request)


@mutant("subscription-without-authentication", kills=["AUTH-006"])
class SubscriptionWithoutAuthentication(GuestAccess):
    def authenticate(self, request: Any) -> Caller:
        if request.path.endswith("/subscription") and not request.get_header("Authorization"):
            return self.guest_caller()
        return super().authenticate(request)


@mutant("token-revocation-accepts-any-token", kills=["AUTH-006"])
class TokenRevocationAcceptsAnyToken(GuestAccess):
    def authenticate(self, request: Any) -> Caller:
        try:
            return super().authenticate(request)
        except ApiError:
            if (
                request.method == "DELETE"
                and "/tokens/" in request.path
                and request.get_header("Authorization")
            ):
                return self.guest_caller()
            raise


@mutant("auth-user-without-plan", kills=["AUTH-007"])
class AuthUserWithoutPlan(Server):
    def show_user(self, request: Any, caller: Caller) -> Success:
        success = super().show_user(request, caller)
        del success.data["pricing_plan"]
        return success


@mutant("auth-token-count-off-by-one", kills=["AUTH-008"])
class AuthTokenCountOffByOne(Server):
    def list_tokens(self, request: Any, caller: Caller) -> Success:
        success = super().list_tokens(request, caller)
        success.data["count"] += 1
        return success


@mutant("auth-token-without-abilities", kills=["AUTH-008"])
class AuthTokenWithoutAbilities(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        data = super().token_data(token)
        del data["abilities"]
        return data


@mutant("token-list-exposes-plain-text", kills=["AUTH-009"])
class TokenListExposesPlainText(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        return super().token_data(token) | {"plain_text": token.secret}


@mutant("token-list-oldest-first", kills=["AUTH-010"])
class TokenListOldestFirst(Server):
    def account_tokens(self, account: Account) -> list[Token]:
        return super().account_tokens(account)[::-1]


@mutant("registration-returns-200", kills=["AUTH-011"])
class RegistrationReturns200(Server):
    def register(self, request: Any, fields: dict[str, Any]) -> Success:
        success = super().register(request, fields)
        success.status = 200
        return success


@mutant("registration-token-revoked", kills=["AUTH-012"])
class RegistrationTokenRevoked(Server):
    def register(self, request: Any, fields: dict[str, Any]) -> Success:
        success = super().register(request, fields)
        self.revoke_token(self.tokens_by_secret[success.data["token"]])
        return success


@mutant("ignores-device-name", kills=["AUTH-012"])
class IgnoresDeviceName(Server):
    def login_data(self, request: Any, account: Account, fields: dict[str, Any]) -> dict[str, Any]:
        return super().login_data(request, account, {})


@mutant("registration-reports-first-error-only", kills=["AUTH-013"])
class RegistrationReportsFirstErrorOnly(Server):
    def register(self, request: Any, fields: dict[str, Any]) -> Success:
        try:
            return super().register(request, fields)
        except ApiError as error:
            error.errors = dict(list((error.errors or {}).items())[:1])
            raise


@mutant("registration-name-optional", kills=["AUTH-013"])
class RegistrationNameOptional(Server):
    def register(self, request: Any, fields: dict[str, Any]) -> Success:
        return super().register(request, {"name": "Nameless", **fields})


@mutant("accepts-invalid-email", kills=["AUTH-014"])
class AcceptsInvalidEmail(Server):
    def is_email(self, email: str) -> bool:
        return True


@mutant("accepts-seven-character-password", kills=["AUTH-015"])
class AcceptsSevenCharacterPassword(Server):
    def password_errors(self, password: str) -> list[str]:
        return super().password_errors(password + "-" * (len(password) == 7))


@mutant("accepts-password-without-digit", kills=["AUTH-015"])
class AcceptsPasswordWithoutDigit(Server):
    def password_errors(self, password: str) -> list[str]:
        return [weakness for weakness in super().password_errors(password) if "number" not in weakness]


@mutant("ignores-password-confirmation", kills=["AUTH-016"])
class IgnoresPasswordConfirmation(Server):
    def add_account_errors(self, fields: dict[str, Any], errors: Errors) -> None:
        super().add_account_errors({**fields, "password_confirmation": fields.get("password")}, errors)


@mutant("accepts-duplicate-email", kills=["AUTH-017"])
class AcceptsDuplicateEmail(Server):
    def add_account_errors(self, fields: dict[str, Any], errors: Errors) -> None:
        address = fields.get("email")
        super().add_account_errors({**fields, "email": f"unused.{address}"} if address else fields, errors)


@mutant("email-case-sensitive", kills=["AUTH-017"])
class EmailCaseSensitive(Server):
    def normalize_email(self, email: str) -> str:
        return email


@mutant("permits-unverified-accounts", kills=["AUTH-018"])
class PermitsUnverifiedAccounts(Server):
    def check_permission(self, route: Route, caller: Caller) -> None:
        if self.is_verified(caller.account):
            super().check_permission(route, caller)


@mutant("unverified-login-succeeds", kills=["AUTH-019"])
class UnverifiedLoginSucceeds(Server):
    def login(self, request: Any, fields: dict[str, Any]) -> Success:
        account = self.find_account(str(fields.get("email")))
        if account and not self.is_verified(account) and account.password == fields.get("password"):
            return Success("Login successful", self.login_data(request, account, fields))
        return super().login(request, fields)


@mutant("verification-checked-before-password", kills=["AUTH-019"])
class VerificationCheckedBeforePassword(Server):
    def login(self, request: Any, fields: dict[str, Any]) -> Success:
        account = self.find_account(str(fields.get("email")))
        if account and not self.is_verified(account) and fields.get("password"):
            raise ApiError(403, "Your email address is not verified.")
        return super().login(request, fields)


@mutant("login-revokes-previous-login", kills=["AUTH-020"])
class LoginRevokesPreviousLogin(Server):
    def login(self, request: Any, fields: dict[str, Any]) -> Success:
        success = super().login(request, fields)
        kept = {*self.tokens, success.data["token"]}  # the kit needs its own tokens
        for token in self.account_tokens(self.accounts[success.data["user"]["id"]]):
            if token.secret not in kept:
                self.revoke_token(token)
        return success


@mutant("login-reveals-unknown-email", kills=["AUTH-021"])
class LoginRevealsUnknownEmail(Server):
    def login_failure(self, account: Account | None) -> str:
        return "The password is wrong." if account else "There is no such account."


@mutant("accepts-any-password", kills=["AUTH-021"])
class AcceptsAnyPassword(Server):
    def is_password_correct(self, account: Account, password: str) -> bool:
        return True


@mutant("login-without-password-returns-401", kills=["AUTH-022"])
class LoginWithoutPasswordReturns401(Server):
    def login(self, request: Any, fields: dict[str, Any]) -> Success:
        if "password" not in fields:
            raise self.unauthenticated(self.login_failure(None))
        return super().login(request, fields)


@mutant("logout-keeps-token", kills=["AUTH-023"])
class LogoutKeepsToken(Server):
    def logout(self, request: Any, caller: Caller) -> Success:
        return Success("Logout successful")


@mutant("logout-revokes-all-tokens", kills=["AUTH-024"])
class LogoutRevokesAllTokens(Server):
    def logout(self, request: Any, caller: Caller) -> Success:
        return super().revoke_all(request, caller)


@mutant("revoked-token-still-valid", kills=["AUTH-025"])
class RevokedTokenStillValid(Server):
    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        previous = dict(self.tokens_by_secret)
        success = super().delete_token(request, caller, number)
        self.revoked_tokens = {**self.revoked_tokens, **previous}
        return success

    revoked_tokens: dict[str, Token] = {}  # noqa: RUF012  # replaced, never mutated

    def find_token(self, secret: str) -> Token | None:
        return super().find_token(secret) or self.revoked_tokens.get(secret)


@mutant("revoked-token-still-listed", kills=["AUTH-025"])
class RevokedTokenStillListed(Server):
    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        previous = self.account_tokens(caller.account)
        success = super().delete_token(request, caller, number)
        self.revoked_tokens = [*self.revoked_tokens, *(token for token in previous if token.id == number)]
        return success

    revoked_tokens: list[Token] = []  # noqa: RUF012  # replaced, never mutated

    def account_tokens(self, account: Account) -> list[Token]:
        revoked = [token for token in self.revoked_tokens if token.account is account]
        return self.newest_first([*super().account_tokens(account), *revoked])


@mutant("revoked-token-valid-while-cached", kills=["AUTH-025"])
class RevokedTokenValidWhileCached(Server):
    """Valid tokens are cached. Only an operation of the token on itself clears the cache."""

    cached: dict[str, Token] = {}  # noqa: RUF012  # replaced, never mutated

    def find_token(self, secret: str) -> Token | None:
        token = super().find_token(secret)
        if token:
            self.cached = {**self.cached, secret: token}
        return self.cached.get(secret)

    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        success = super().delete_token(request, caller, number)
        if number == caller.token.id:
            self.cached = {}
        return success

    def logout(self, request: Any, caller: Caller) -> Success:
        self.cached = {}
        return super().logout(request, caller)

    def revoke_all(self, request: Any, caller: Caller) -> Success:
        self.cached = {}
        return super().revoke_all(request, caller)


@mutant("revoked-token-still-lists-images", kills=["AUTH-025"])
class RevokedTokenStillListsImages(Server):
    """Only the list of images still accepts a revoked token."""

    revoked_tokens: dict[str, Token] = {}  # noqa: RUF012  # replaced, never mutated

    def revoke_token(self, token: Token) -> None:
        self.revoked_tokens = {**self.revoked_tokens, token.secret: token}
        super().revoke_token(token)

    def find_request_token(self, request: Any) -> Token | None:
        token = super().find_request_token(request)
        if token is None and request.path == "/api/images":
            return self.revoked_tokens.get(request.get_header("Authorization", "").removeprefix("Bearer "))
        return token


@mutant("token-cannot-revoke-itself", kills=["AUTH-026"])
class TokenCannotRevokeItself(Server):
    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        if number == caller.token.id:
            raise ApiError(403, "This token is in use.")
        return super().delete_token(request, caller, number)


@mutant("revoke-all-keeps-current-token", kills=["AUTH-027"])
class RevokeAllKeepsCurrentToken(Server):
    def revoke_all(self, request: Any, caller: Caller) -> Success:
        for token in self.account_tokens(caller.account):
            if token is not caller.token:
                self.revoke_token(token)
        return Success("All tokens revoked successfully")


@mutant("revoke-all-affects-other-accounts", kills=["AUTH-027"])
class RevokeAllAffectsOtherAccounts(Server):
    def revoke_all(self, request: Any, caller: Caller) -> Success:
        for token in list(self.tokens_by_secret.values()):
            if token.secret not in self.tokens:  # the kit needs its own tokens
                self.revoke_token(token)
        return Success("All tokens revoked successfully")


class AutoVerifiesEmail(Server):
    """A server without a fault that treats every registered email address as verified."""

    def register(self, request: Any, fields: dict[str, Any]) -> Success:
        success = super().register(request, fields)
        account = self.accounts[success.data["user"]["id"]]
        account.verified_at = account.created_at
        success.data["user"] = self.user_data(account)
        return success


@mutant("revoke-all-revokes-current-token-only", kills=["AUTH-027"])
class RevokeAllRevokesCurrentTokenOnly(AutoVerifiesEmail):
    def revoke_all(self, request: Any, caller: Caller) -> Success:
        return super().logout(request, caller)


@mutant("revoke-all-keeps-created-tokens", kills=["AUTH-027"])
class RevokeAllKeepsCreatedTokens(HandsOutTokens):
    def revoke_all(self, request: Any, caller: Caller) -> Success:
        for token in self.account_tokens(caller.account):
            if token.secret not in self.made:
                self.revoke_token(token)
        return Success("All tokens revoked successfully")

    def create_token(self, request: Any, caller: Caller, fields: dict[str, Any]) -> Success:
        success = super().create_token(request, caller, fields)
        self.made = {*self.made, success.data["token"]}
        return success

    made: set[str] = set()  # noqa: RUF012  # replaced, never mutated


@mutant("accepts-token-in-query", kills=["AUTH-028"])
class AcceptsTokenInQuery(Server):
    def authenticate(self, request: Any) -> Caller:
        token = self.find_token(dict(parse_qsl(request.query_string)).get("access_token", ""))
        return Caller(token.account, token) if token else super().authenticate(request)


@mutant("rejects-eight-character-password", kills=["AUTH-015"])
class RejectsEightCharacterPassword(Server):
    def password_errors(self, password: str) -> list[str]:
        return super().password_errors(password[:-1])


@mutant("password-case-insensitive", kills=["AUTH-019"])
class PasswordCaseInsensitive(Server):
    def is_password_correct(self, account: Account, password: str) -> bool:
        return account.password.lower() == password.lower()


@mutant("accepts-line-break-in-account-name", kills=["AUTH-029"])
class AcceptsLineBreakInAccountName(Server):
    def add_account_errors(self, fields: dict[str, Any], errors: Errors) -> None:
        super().add_account_errors({**fields, "name": "one line"} if "name" in fields else fields, errors)


@mutant("account-name-length-unlimited", kills=["AUTH-029"])
class AccountNameLengthUnlimited(Server):
    def text_errors(self, fields: dict[str, Any], known: set[str], optional: set[str]) -> Errors:
        name = fields.get("name")
        short = {**fields, "name": name[:9]} if isinstance(name, str) else fields
        return super().text_errors(short, known, optional)


@mutant("token-name-ignores-user-agent", kills=["AUTH-030"])
class TokenNameIgnoresUserAgent(Server):
    def login_data(self, request: Any, account: Account, fields: dict[str, Any]) -> dict[str, Any]:
        return super().login_data(request, account, {"device_name": "unnamed", **fields})


@mutant("registration-requires-device-name", kills=["AUTH-030"])
class RegistrationRequiresDeviceName(Server):
    def text_errors(self, fields: dict[str, Any], known: set[str], optional: set[str]) -> Errors:
        errors = super().text_errors(fields, known, optional)
        if "name" in known and not fields.get("device_name"):
            errors["device_name"] = ["The device_name field is required."]
        return errors


@mutant("logout-parses-body", kills=["AUTH-031"])
class LogoutParsesBody(Server):
    def logout(self, request: Any, caller: Caller) -> Success:
        if request.content_length > 0:
            self.json_body(request, MAX_JSON_BYTES)
        return super().logout(request, caller)


@mutant("revoke-all-checks-content-type", kills=["AUTH-031"])
class RevokeAllChecksContentType(Server):
    def revoke_all(self, request: Any, caller: Caller) -> Success:
        if request.content_length > 0 and not self.has_media_type(request.content_type, "application/json"):
            raise ApiError(415, "Unsupported media type.")
        return super().revoke_all(request, caller)


@mutant("password-truncated-to-72-bytes", kills=["AUTH-032"])
class PasswordTruncatedTo72Bytes(Server):
    def is_password_correct(self, account: Account, password: str) -> bool:
        return account.password.encode()[:72] == password.encode()[:72]


@mutant("registration-token-without-image-abilities", kills=["AUTH-033"])
class RegistrationTokenWithoutImageAbilities(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        data = super().token_data(token)
        return data if self.is_verified(token.account) else data | {"abilities": ["user:read"]}


@mutant("login-token-without-delete-ability", kills=["AUTH-033"])
class LoginTokenWithoutDeleteAbility(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        data = super().token_data(token)
        first = token.secret in self.tokens or not self.is_verified(token.account)
        return data if first else data | {"abilities": ["images:read", "images:write", "user:read"]}


@mutant("last-used-at-never-set", kills=["AUTH-034"])
class LastUsedAtNeverSet(Server):
    def record_use(self, token: Token) -> None:
        pass
