"""The two shapes of every answer, and the one table from what went wrong to what the client reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from domain import errors
from handlers.transport.field_messages import field_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

Body = dict[str, Any]

UNAVAILABLE_RETRY_SECONDS = 5


def success(message: str, data: object = None) -> Body:
    body: Body = {"success": True, "message": message}
    if data is not None:
        body["data"] = data
    return body


def failure(message: str, field_messages: Mapping[str, list[str]] | None = None) -> Body:
    body: Body = {"success": False, "message": message}
    if field_messages is not None:
        body["errors"] = field_messages
    return body


@dataclass(frozen=True)
class Answer:
    status: int
    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)


class TransportError(errors.UprezError):
    """Refused for its form, before any rule of the domain was asked."""

    code = "transport"

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers or {}


_TRANSPORT_MESSAGES = {
    400: "The request is malformed.",
    404: "Not found.",
    405: "Method not allowed.",
    408: "The request took too long to arrive.",
    413: "The request is too large.",
    415: "Unsupported media type.",
    416: "The requested range cannot be satisfied.",
    431: "The request header is too large.",
    500: "Server error",
    503: "Service unavailable. Try again later.",
}

_ANSWERS: tuple[tuple[type[errors.UprezError], int, str], ...] = (
    (errors.Unauthenticated, 401, "Unauthenticated."),
    (errors.WrongCredentials, 401, "The e-mail address or the password is wrong."),
    (errors.AbilityMissing, 403, "This token does not have the ability that this operation needs."),
    (errors.EmailNotVerified, 403, "Your email address is not verified."),
    (errors.SubscriptionLapsed, 403, "Your subscription has lapsed."),
    (errors.ApiAccessMissing, 403, "Your plan does not include API access."),
    (errors.BatchesMissing, 403, "Your plan does not include batches."),
    (errors.QuotaExceeded, 403, "Your monthly image quota is exceeded."),
    (errors.InvalidLink, 403, "This link is invalid or has expired."),
    (errors.NotFound, 404, _TRANSPORT_MESSAGES[404]),
    (errors.Unavailable, 503, _TRANSPORT_MESSAGES[503]),
)
"""Looked through from the top; what is not here is a crash."""

_TOO_MANY = {
    errors.TooManyRequests.code: "Too many requests. Try again later.",
    errors.TooManyFailedLogins.code: "Too many failed logins. Try again later.",
}

_NOT_DOWNLOADABLE = {
    "pending": "The image is still pending.",
    "processing": "The image is still processing.",
    "failed": "The image could not be processed, there is nothing to download.",
}


def answer_to(error: Exception) -> Answer:
    """What a client gets for this exception; never a word of the exception itself."""
    match error:
        case errors.InvalidFields():
            return Answer(422, failure("Validation failed", field_errors(error.problems)))
        case errors.NotDownloadable():
            return Answer(400, failure(_NOT_DOWNLOADABLE[error.status]))
        case errors.TooManyRequests():
            headers = {"Retry-After": str(error.retry_after_seconds)}
            return Answer(429, failure(_TOO_MANY[error.code]), headers)
        case TransportError():
            return status_answer(error.status, error.headers)
    for kind, status, message in _ANSWERS:
        if isinstance(error, kind):
            return Answer(status, failure(message), _headers(status))
    return status_answer(500)


def status_answer(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    message = _TRANSPORT_MESSAGES.get(status, _TRANSPORT_MESSAGES[400 if status < 500 else 500])  # noqa: PLR2004
    return Answer(status, failure(message), {**_headers(status), **(headers or {})})


def _headers(status: int) -> dict[str, str]:
    if status == 401:  # noqa: PLR2004
        return {"WWW-Authenticate": "Bearer"}
    if status == 503:  # noqa: PLR2004
        return {"Retry-After": str(UNAVAILABLE_RETRY_SECONDS)}
    return {}
