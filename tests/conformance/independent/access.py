"""Authentication, rate limits, permissions, and ownership of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from independent.envelope import ApiError, Envelope
from independent.records import Caller

if TYPE_CHECKING:
    from independent.records import Account, Route, Token

FEATURES = {"enterprise": ["api_access", "batches", "priority_support"], "free": []}


class Access(Envelope):
    """The checks before a handler runs."""

    def authenticate(self, request: Any) -> Caller:
        """Return the caller, and record the use of the token. Raise ``ApiError`` with 401 without a valid token."""
        token = self.find_request_token(request)
        if token is None:
            self.count_anonymous_request()
            raise self.unauthenticated("Unauthenticated.")
        self.record_use(token)
        return Caller(token.account, token)

    def find_request_token(self, request: Any) -> Token | None:
        """Return the valid bearer token of the request."""
        scheme, _, secret = request.get_header("Authorization", "").partition(" ")
        return self.find_token(secret.strip()) if scheme.lower() == "bearer" else None

    def unauthenticated(self, message: str) -> ApiError:
        """Return the 401 error with its challenge."""
        return ApiError(401, message, WWW_Authenticate=self.challenge())

    def challenge(self) -> str:
        """Return the value of ``WWW-Authenticate``."""
        return "Bearer"

    def find_token(self, secret: str) -> Token | None:
        """Return the token with this plain text, unless it is revoked."""
        return self.tokens_by_secret.get(secret)

    def record_use(self, token: Token) -> None:
        """Set the time of the token's last use."""
        token.last_used_at = self.now()

    def count_anonymous_request(self) -> None:
        """Count a request without a token. Raise ``ApiError`` with 429 above the limit."""
        with self.lock:
            self.without_token += 1
            if self.without_token > self.unauthenticated_per_hour:
                raise self.too_many_requests(3600)

    def count_public_request(self, request: Any) -> None:
        """Count a request to a public operation as anonymous, unless it has a valid token."""
        if self.find_request_token(request) is None:
            self.count_anonymous_request()

    def count_authenticated_request(self, caller: Caller) -> None:
        """Count a request with a token. Raise ``ApiError`` with 429 as the option ``throttle`` says."""
        with self.lock:
            self.with_token += 1
            if self.throttle and self.with_token % self.throttle == 0:
                raise self.too_many_requests(self.retry_after)

    def too_many_requests(self, seconds: int) -> ApiError:
        """Return the 429 error; the client may retry after so many seconds."""
        return ApiError(429, "Too many requests.", Retry_After=str(seconds))

    def check_permission(self, route: Route, caller: Caller) -> None:
        """Raise ``ApiError`` with 403 if the account is not verified or its plan does not include the operation."""
        if route.access in {"images", "batches"} and not self.is_verified(caller.account):
            raise ApiError(403, "Your email address is not verified.")
        if route.access == "batches" and "batches" not in FEATURES[caller.account.plan]:
            raise ApiError(403, "Your plan has no batches.")

    def is_verified(self, account: Account) -> bool:
        """Return True if the email address of the account is verified."""
        return account.verified_at is not None

    def find_owned(self, records: dict[int, Any], number: int, account: Account) -> Any:
        """Return the record with this id.

        Raise the same 404 if it does not exist and if it belongs to another account.
        """
        record = records.get(number)
        if record is None or not self.is_owner(account, record):
            raise self.not_found()
        return record

    def is_owner(self, account: Account, record: Any) -> bool:
        """Return True if the record belongs to the account."""
        return record.account is account
