"""Envelope of every JSON response, and the one table from errors to status and message."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from domain import errors
from handlers.transport.field_messages import field_errors, field_reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

Body = dict[str, Any]

UNAVAILABLE_RETRY_SECONDS = 5

REASON = "X-Uprez-Reason"
"""Header of every error response: the reason as a stable word; the words of each wrong field for a 422."""

_TRANSPORT: Mapping[int, tuple[str, str]] = {
    HTTPStatus.BAD_REQUEST: ("malformed", "The request is malformed."),
    HTTPStatus.NOT_FOUND: ("not_found", "Not found."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "Method not allowed."),
    HTTPStatus.REQUEST_TIMEOUT: ("body_timeout", "The request took too long to arrive."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("body_too_large", "The request is too large."),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("unsupported_media_type", "Unsupported media type."),
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: (
        "range_not_satisfiable",
        "The requested range cannot be satisfied.",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ("headers_too_large", "The request header is too large."),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("server_error", "Server error"),
    HTTPStatus.SERVICE_UNAVAILABLE: ("unavailable", "Service unavailable. Try again later."),
}
"""Reason and message of each status."""

_ERROR_RESPONSES: tuple[tuple[type[errors.UprezError], HTTPStatus, str], ...] = (
    (errors.Unauthenticated, HTTPStatus.UNAUTHORIZED, "Unauthenticated."),
    (errors.WrongCredentials, HTTPStatus.UNAUTHORIZED, "The email address or the password is wrong."),
    (
        errors.AbilityMissing,
        HTTPStatus.FORBIDDEN,
        "This token does not have the ability that this operation needs.",
    ),
    (errors.EmailNotVerified, HTTPStatus.FORBIDDEN, "Your email address is not verified."),
    (errors.SubscriptionLapsed, HTTPStatus.FORBIDDEN, "Your subscription has lapsed."),
    (errors.ApiAccessMissing, HTTPStatus.FORBIDDEN, "Your plan does not include API access."),
    (errors.BatchesMissing, HTTPStatus.FORBIDDEN, "Your plan does not include batches."),
    (errors.QuotaExceeded, HTTPStatus.FORBIDDEN, "Your monthly image quota is exceeded."),
    (errors.InvalidLink, HTTPStatus.FORBIDDEN, "This link is invalid or has expired."),
    (
        errors.TooManyFailedLogins,
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many failed logins. Try again later.",
    ),
    (errors.TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS, "Too many requests. Try again later."),
    (errors.NotFound, HTTPStatus.NOT_FOUND, _TRANSPORT[HTTPStatus.NOT_FOUND][1]),
    (errors.Unavailable, HTTPStatus.SERVICE_UNAVAILABLE, _TRANSPORT[HTTPStatus.SERVICE_UNAVAILABLE][1]),
)
"""The first match counts; an error without one is a crash."""

_NOT_DOWNLOADABLE = {
    "pending": "The image is still pending.",
    "processing": "The image is still processing.",
    "failed": "The image could not be processed, there is nothing to download.",
}

_HEADERS: Mapping[int, Mapping[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": str(UNAVAILABLE_RETRY_SECONDS)},
}


def success(message: str, data: object = None) -> Body:
    """Return the envelope of a success; without ``data`` if it is None."""
    body: Body = {"success": True, "message": message}
    if data is not None:
        body["data"] = data
    return body


def failure(message: str, field_messages: Mapping[str, list[str]] | None = None) -> Body:
    """Return the envelope of an error; without ``errors`` if there are no field messages."""
    body: Body = {"success": False, "message": message}
    if field_messages is not None:
        body["errors"] = field_messages
    return body


def response_for_error(error: Exception) -> ErrorResponse:
    """Return the response to this exception; it has no text of the exception itself."""
    match error:
        case errors.InvalidFields():
            body = failure("Validation failed", field_errors(error.problems))
            return _error_response(HTTPStatus.UNPROCESSABLE_ENTITY, field_reasons(error.problems), body)
        case errors.NotDownloadable():
            body = failure(_NOT_DOWNLOADABLE[error.status])
            return _error_response(HTTPStatus.BAD_REQUEST, error.code, body)
        case TransportError():
            return response_for_status(error.status, error.headers)
    for kind, status, message in _ERROR_RESPONSES:
        if isinstance(error, kind):
            wait = getattr(error, "retry_after_seconds", None)
            headers = {} if wait is None else {"Retry-After": str(wait)}
            return _error_response(status, kind.code, failure(message), headers)
    return response_for_status(HTTPStatus.INTERNAL_SERVER_ERROR)


def response_for_status(status: int, headers: Mapping[str, str] | None = None) -> ErrorResponse:
    """Return the response with this status; a status without a message gets that of 400 or 500."""
    is_client_error = status < HTTPStatus.INTERNAL_SERVER_ERROR
    default = HTTPStatus.BAD_REQUEST if is_client_error else HTTPStatus.INTERNAL_SERVER_ERROR
    reason, message = _TRANSPORT.get(status, _TRANSPORT[default])
    return _error_response(status, reason, failure(message), headers or {})


def reasons() -> set[str]:
    """Return the reasons of all statuses but 422."""
    return (
        {reason for reason, _ in _TRANSPORT.values()}
        | {kind.code for kind, _, _ in _ERROR_RESPONSES}
        | {errors.NotDownloadable.code}
    )


def _error_response(
    status: int, reason: str, body: Body, headers: Mapping[str, str] = MappingProxyType({})
) -> ErrorResponse:
    """Return the response with its reason, the headers of its status and further ones."""
    return ErrorResponse(status, body, {REASON: reason, **_HEADERS.get(status, {}), **headers})


@dataclass(frozen=True)
class ErrorResponse:
    """Status, JSON body and additional headers of an error."""

    status: int
    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)


class TransportError(errors.UprezError):
    """The request is rejected for its form, before any rule of the domain is applied."""

    code = "transport"

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers or {}
