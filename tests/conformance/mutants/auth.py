"""Servers that let in whom they should not, or keep out whom they should let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from independent.records import Account, Token
from independent.server import JSON_CAP, Caller, Errors, Refused, Server, Success
from mutants import mutant
from mutants.authz import HandsOutTokens

if TYPE_CHECKING:
    from independent.server import Route


class HasGuests(Server):
    """A place for those who should not have come in."""

    def guest(self) -> Token:
        account = Account(
            999, "Guest", "guest@example.com", "", "enterprise", self.now(), self.now(), quota=9
        )
        return Token(999, account, "guest", "", self.now())

    def guest_caller(self) -> Caller:
        token = self.guest()
        return Caller(token.account, token)


@mutant("everybody-may-come-in", kills=["AUTH-001"])
class EverybodyMayComeIn(HasGuests):
    def authenticate(self, request: Any) -> Caller:
        return super().authenticate(request) if request.get_header("Authorization") else self.guest_caller()


@mutant("any-token-will-do", kills=["AUTH-002"])
class AnyTokenWillDo(HasGuests):
    def find_token(self, secret: str) -> Token | None:
        return super().find_token(secret) or (self.guest() if secret else None)


@mutant("the-end-of-a-token-is-not-read", kills=["AUTH-002"])
class EndOfTokenIsNotRead(Server):
    def find_token(self, secret: str) -> Token | None:
        tokens = self.tokens_by_secret.values()
        return next((token for token in tokens if token.secret[:12] == secret[:12]), None)


@mutant("a-refusal-says-not-how-to-go-on", kills=["AUTH-003"])
class RefusalSaysNotHow(Server):
    def challenge(self) -> str:
        return 'Basic realm="somewhere"'


@mutant("a-header-of-another-scheme-crashes", kills=["AUTH-004"])
class AnotherSchemeCrashes(Server):
    def authenticate(self, request: Any) -> Caller:
        header = request.get_header("Authorization", "Bearer x")
        if not header.startswith("Bearer "):
            raise Refused(500, "Server error")
        return super().authenticate(request)


@mutant("the-token-is-looked-at-last", kills=["AUTH-005"])
class TokenIsLookedAtLast(Server):
    def authenticate(self, request: Any) -> Caller:
        if not request.get_header("Authorization"):
            if request.path.rpartition("/")[2] in {"upscale", "batches"} and request.method == "POST":
                raise self.invalid({"image": ["The image field is required."]})
            if request.path.endswith("/download"):
                raise self.not_found()
            self.paging(parse_qsl(request.query_string), ())
        return super().authenticate(request)


@mutant("the-subscription-is-for-everybody", kills=["AUTH-006"])
class SubscriptionIsForEverybody(HasGuests):
    def authenticate(self, request: Any) -> Caller:
        if request.path.endswith("/subscription") and not request.get_header("Authorization"):
            return self.guest_caller()
        return super().authenticate(request)


@mutant("any-token-may-revoke", kills=["AUTH-006"])
class AnyTokenMayRevoke(HasGuests):
    def authenticate(self, request: Any) -> Caller:
        try:
            return super().authenticate(request)
        except Refused:
            if (
                request.method == "DELETE"
                and "/tokens/" in request.path
                and request.get_header("Authorization")
            ):
                return self.guest_caller()
            raise


@mutant("the-user-has-no-plan", kills=["AUTH-007"])
class UserHasNoPlan(Server):
    def show_user(self, request: Any, caller: Caller) -> Success:
        success = super().show_user(request, caller)
        del success.data["pricing_plan"]
        return success


@mutant("one-token-more-is-counted", kills=["AUTH-008"])
class OneTokenMoreIsCounted(Server):
    def list_tokens(self, request: Any, caller: Caller) -> Success:
        success = super().list_tokens(request, caller)
        success.data["count"] += 1
        return success


@mutant("tokens-have-no-abilities", kills=["AUTH-008"])
class TokensHaveNoAbilities(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        data = super().token_data(token)
        del data["abilities"]
        return data


@mutant("the-list-shows-the-tokens", kills=["AUTH-009"])
class ListShowsTheTokens(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        return super().token_data(token) | {"plain_text": token.secret}


@mutant("the-oldest-token-comes-first", kills=["AUTH-010"])
class OldestTokenComesFirst(Server):
    def tokens_of(self, account: Account) -> list[Token]:
        return super().tokens_of(account)[::-1]


@mutant("registering-is-answered-as-ok", kills=["AUTH-011"])
class RegisteringIsAnsweredAsOk(Server):
    def register(self, request: Any, given: dict[str, Any]) -> Success:
        success = super().register(request, given)
        success.status = 200
        return success


@mutant("the-first-token-does-not-work", kills=["AUTH-012"])
class FirstTokenDoesNotWork(Server):
    def register(self, request: Any, given: dict[str, Any]) -> Success:
        success = super().register(request, given)
        self.revoke(self.tokens_by_secret[success.data["token"]])
        return success


@mutant("the-label-of-a-token-is-lost", kills=["AUTH-012"])
class LabelIsLost(Server):
    def issued(self, request: Any, account: Account, given: dict[str, Any]) -> dict[str, Any]:
        return super().issued(request, account, {})


@mutant("only-the-first-field-is-named", kills=["AUTH-013"])
class OnlyTheFirstFieldIsNamed(Server):
    def register(self, request: Any, given: dict[str, Any]) -> Success:
        try:
            return super().register(request, given)
        except Refused as refused:
            refused.errors = dict(list((refused.errors or {}).items())[:1])
            raise


@mutant("a-name-is-not-needed", kills=["AUTH-013"])
class NameIsNotNeeded(Server):
    def register(self, request: Any, given: dict[str, Any]) -> Success:
        return super().register(request, {"name": "Nameless", **given})


@mutant("anything-is-an-address", kills=["AUTH-014"])
class AnythingIsAnAddress(Server):
    def is_address(self, email: str) -> bool:
        return True


@mutant("seven-characters-will-do", kills=["AUTH-015"])
class SevenCharactersWillDo(Server):
    def weaknesses(self, password: str) -> list[str]:
        return super().weaknesses(password + "-" * (len(password) == 7))


@mutant("a-password-needs-no-digit", kills=["AUTH-015"])
class PasswordNeedsNoDigit(Server):
    def weaknesses(self, password: str) -> list[str]:
        return [weakness for weakness in super().weaknesses(password) if "number" not in weakness]


@mutant("the-repetition-is-not-read", kills=["AUTH-016"])
class RepetitionIsNotRead(Server):
    def check_new_account(self, given: dict[str, Any], errors: Errors) -> None:
        super().check_new_account({**given, "password_confirmation": given.get("password")}, errors)


@mutant("an-address-may-be-taken-twice", kills=["AUTH-017"])
class AddressMayBeTakenTwice(Server):
    def check_new_account(self, given: dict[str, Any], errors: Errors) -> None:
        address = given.get("email")
        super().check_new_account({**given, "email": f"another.{address}"} if address else given, errors)


@mutant("upper-case-is-another-address", kills=["AUTH-017"])
class UpperCaseIsAnotherAddress(Server):
    def normal(self, email: str) -> str:
        return email


@mutant("unverified-accounts-may-do-all", kills=["AUTH-018"])
class UnverifiedAccountsMayDoAll(Server):
    def permit(self, route: Route, caller: Caller) -> None:
        if self.is_verified(caller.account):
            super().permit(route, caller)


@mutant("unverified-accounts-may-log-in", kills=["AUTH-019"])
class UnverifiedAccountsMayLogIn(Server):
    def login(self, request: Any, given: dict[str, Any]) -> Success:
        account = self.account_of(str(given.get("email")))
        if account and not self.is_verified(account) and account.password == given.get("password"):
            return Success("Login successful", self.issued(request, account, given))
        return super().login(request, given)


@mutant("verification-is-looked-at-before-the-password", kills=["AUTH-019"])
class VerificationBeforePassword(Server):
    def login(self, request: Any, given: dict[str, Any]) -> Success:
        account = self.account_of(str(given.get("email")))
        if account and not self.is_verified(account) and given.get("password"):
            raise Refused(403, "Your e-mail address is not verified.")
        return super().login(request, given)


@mutant("a-login-ends-the-login-before", kills=["AUTH-020"])
class LoginEndsTheLoginBefore(Server):
    def login(self, request: Any, given: dict[str, Any]) -> Success:
        success = super().login(request, given)
        kept = {*self.tokens, success.data["token"]}  # those given out at the start are the caller's
        for token in self.tokens_of(self.accounts[success.data["user"]["id"]]):
            if token.secret not in kept:
                self.revoke(token)
        return success


@mutant("an-unknown-address-is-told", kills=["AUTH-021"])
class UnknownAddressIsTold(Server):
    def login_refusal(self, account: Account | None) -> str:
        return "The password is wrong." if account else "There is no such account."


@mutant("the-password-is-not-looked-at", kills=["AUTH-021"])
class PasswordIsNotLookedAt(Server):
    def password_is_right(self, account: Account, password: str) -> bool:
        return True


@mutant("a-login-without-a-password-is-only-wrong", kills=["AUTH-022"])
class LoginWithoutPasswordIsOnlyWrong(Server):
    def login(self, request: Any, given: dict[str, Any]) -> Success:
        if "password" not in given:
            raise self.unauthenticated(self.login_refusal(None))
        return super().login(request, given)


@mutant("a-logout-ends-nothing", kills=["AUTH-023"])
class LogoutEndsNothing(Server):
    def logout(self, request: Any, caller: Caller) -> Success:
        return Success("Logout successful")


@mutant("a-logout-ends-all-tokens", kills=["AUTH-024"])
class LogoutEndsAllTokens(Server):
    def logout(self, request: Any, caller: Caller) -> Success:
        return super().log_out_everywhere(request, caller)


@mutant("a-revoked-token-stays-good", kills=["AUTH-025"])
class RevokedTokenStaysGood(Server):
    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        before = dict(self.tokens_by_secret)
        success = super().delete_token(request, caller, number)
        self.ghosts = {**self.ghosts, **before}
        return success

    ghosts: dict[str, Token] = {}  # noqa: RUF012  # replaced, never changed

    def find_token(self, secret: str) -> Token | None:
        return super().find_token(secret) or self.ghosts.get(secret)


@mutant("revoked-tokens-stay-listed", kills=["AUTH-025"])
class RevokedTokensStayListed(Server):
    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        before = self.tokens_of(caller.account)
        success = super().delete_token(request, caller, number)
        self.revoked = [*self.revoked, *(token for token in before if token.id == number)]
        return success

    revoked: list[Token] = []  # noqa: RUF012  # replaced, never changed

    def tokens_of(self, account: Account) -> list[Token]:
        ghosts = [token for token in self.revoked if token.account is account]
        return self.newest_first([*super().tokens_of(account), *ghosts])


@mutant("a-token-that-was-used-stays-good", kills=["AUTH-025"])
class TokenThatWasUsedStaysGood(Server):
    """Good tokens are remembered, and forgotten only when they end themselves."""

    known: dict[str, Token] = {}  # noqa: RUF012  # replaced, never changed

    def find_token(self, secret: str) -> Token | None:
        token = super().find_token(secret)
        if token:
            self.known = {**self.known, secret: token}
        return self.known.get(secret)

    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        success = super().delete_token(request, caller, number)
        if number == caller.token.id:
            self.known = {}
        return success

    def logout(self, request: Any, caller: Caller) -> Success:
        self.known = {}
        return super().logout(request, caller)

    def log_out_everywhere(self, request: Any, caller: Caller) -> Success:
        self.known = {}
        return super().log_out_everywhere(request, caller)


@mutant("a-revoked-token-still-opens-images", kills=["AUTH-025"])
class RevokedTokenStillOpensImages(Server):
    """What works on images has a list of tokens of its own."""

    known: dict[str, Token] = {}  # noqa: RUF012  # replaced, never changed

    def revoke(self, token: Token) -> None:
        self.known = {**self.known, token.secret: token}
        super().revoke(token)

    def token_of(self, request: Any) -> Token | None:
        token = super().token_of(request)
        if token is None and request.path == "/api/images":
            return self.known.get(request.get_header("Authorization", "").removeprefix("Bearer "))
        return token


@mutant("a-token-may-not-revoke-itself", kills=["AUTH-026"])
class TokenMayNotRevokeItself(Server):
    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        if number == caller.token.id:
            raise Refused(403, "This token is in use.")
        return super().delete_token(request, caller, number)


@mutant("revoke-all-spares-the-token-that-asks", kills=["AUTH-027"])
class RevokeAllSparesTheTokenThatAsks(Server):
    def log_out_everywhere(self, request: Any, caller: Caller) -> Success:
        for token in self.tokens_of(caller.account):
            if token is not caller.token:
                self.revoke(token)
        return Success("All tokens revoked successfully")


@mutant("revoke-all-ends-everybodys-tokens", kills=["AUTH-027"])
class RevokeAllEndsEverybodysTokens(Server):
    def log_out_everywhere(self, request: Any, caller: Caller) -> Success:
        for token in list(self.tokens_by_secret.values()):
            if token.secret not in self.tokens:  # the caller's: without them nothing more could be asked
                self.revoke(token)
        return Success("All tokens revoked successfully")


class TakesAddressesAsVerified(Server):
    """No fault: it sends no mail, and who has registered can log in."""

    def register(self, request: Any, given: dict[str, Any]) -> Success:
        success = super().register(request, given)
        account = self.accounts[success.data["user"]["id"]]
        account.verified_at = account.created_at
        success.data["user"] = self.user_data(account)
        return success


@mutant("revoke-all-is-a-logout", kills=["AUTH-027"])
class RevokeAllIsALogout(TakesAddressesAsVerified):
    def log_out_everywhere(self, request: Any, caller: Caller) -> Success:
        return super().logout(request, caller)


@mutant("revoke-all-ends-tokens-of-logins-only", kills=["AUTH-027"])
class RevokeAllEndsTokensOfLoginsOnly(HandsOutTokens):
    def log_out_everywhere(self, request: Any, caller: Caller) -> Success:
        for token in self.tokens_of(caller.account):
            if token.secret not in self.made:
                self.revoke(token)
        return Success("All tokens revoked successfully")

    def create_token(self, request: Any, caller: Caller, given: dict[str, Any]) -> Success:
        success = super().create_token(request, caller, given)
        self.made = {*self.made, success.data["token"]}
        return success

    made: set[str] = set()  # noqa: RUF012  # replaced, never changed


@mutant("a-token-in-the-address-will-do", kills=["AUTH-028"])
class TokenInTheAddressWillDo(Server):
    def authenticate(self, request: Any) -> Caller:
        token = self.find_token(dict(parse_qsl(request.query_string)).get("access_token", ""))
        return Caller(token.account, token) if token else super().authenticate(request)


@mutant("eight-characters-are-too-few", kills=["AUTH-015"])
class EightCharactersAreTooFew(Server):
    def weaknesses(self, password: str) -> list[str]:
        return super().weaknesses(password[:-1])


@mutant("passwords-have-no-case", kills=["AUTH-019"])
class PasswordsHaveNoCase(Server):
    def password_is_right(self, account: Account, password: str) -> bool:
        return account.password.lower() == password.lower()


@mutant("a-name-may-have-two-lines", kills=["AUTH-029"])
class NameMayHaveTwoLines(Server):
    def check_new_account(self, given: dict[str, Any], errors: Errors) -> None:
        super().check_new_account({**given, "name": "one line"} if "name" in given else given, errors)


@mutant("names-are-endless", kills=["AUTH-029"])
class NamesAreEndless(Server):
    def text_errors(self, given: dict[str, Any], known: set[str], optional: set[str]) -> Errors:
        name = given.get("name")
        short = {**given, "name": name[:9]} if isinstance(name, str) else given
        return super().text_errors(short, known, optional)


@mutant("a-token-without-a-label-is-unnamed", kills=["AUTH-030"])
class TokenWithoutLabelIsUnnamed(Server):
    def issued(self, request: Any, account: Account, given: dict[str, Any]) -> dict[str, Any]:
        return super().issued(request, account, {"device_name": "unnamed", **given})


@mutant("a-label-is-needed", kills=["AUTH-030"])
class LabelIsNeeded(Server):
    def text_errors(self, given: dict[str, Any], known: set[str], optional: set[str]) -> Errors:
        errors = super().text_errors(given, known, optional)
        if "name" in known and not given.get("device_name"):
            errors["device_name"] = ["The device_name field is required."]
        return errors


@mutant("a-logout-reads-its-body", kills=["AUTH-031"])
class LogoutReadsItsBody(Server):
    def logout(self, request: Any, caller: Caller) -> Success:
        if request.content_length > 0:
            self.json_body(request, JSON_CAP)
        return super().logout(request, caller)


@mutant("a-logout-has-no-type", kills=["AUTH-031"])
class LogoutHasNoType(Server):
    def log_out_everywhere(self, request: Any, caller: Caller) -> Success:
        if request.content_length > 0 and not self.is_of_type(request.content_type, "application/json"):
            raise Refused(415, "Unsupported media type.")
        return super().log_out_everywhere(request, caller)


@mutant("passwords-end-after-72-bytes", kills=["AUTH-032"])
class PasswordsEndAfter72Bytes(Server):
    def password_is_right(self, account: Account, password: str) -> bool:
        return account.password.encode()[:72] == password.encode()[:72]


@mutant("tokens-of-a-registration-may-do-nothing-with-images", kills=["AUTH-033"])
class TokensOfARegistrationMayDoNothingWithImages(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        data = super().token_data(token)
        return data if self.is_verified(token.account) else data | {"abilities": ["user:read"]}


@mutant("tokens-of-a-login-may-not-delete", kills=["AUTH-033"])
class TokensOfALoginMayNotDelete(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        data = super().token_data(token)
        first = token.secret in self.tokens or not self.is_verified(token.account)
        return data if first else data | {"abilities": ["images:read", "images:write", "user:read"]}


@mutant("the-use-of-a-token-is-not-noted", kills=["AUTH-034"])
class UseOfATokenIsNotNoted(Server):
    def touch(self, token: Token) -> None:
        pass
