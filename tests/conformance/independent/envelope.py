"""The envelope of every JSON response, and the headers of all responses."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import bottle

from independent.records import Response
from independent.state import State

if TYPE_CHECKING:
    from independent.records import Success

Errors = dict[str, list[str]]


class ApiError(Exception):
    """An error response with its status, message, field errors and headers."""

    def __init__(self, status: int, message: str, errors: Errors | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def reversed_keys(value: Any) -> Any:
    """Return a JSON value with the keys of all its objects in reverse order."""
    if isinstance(value, dict):
        return {name: reversed_keys(value[name]) for name in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


class Envelope(State):
    """Responses in the envelope of the contract."""

    def success(self, success: Success) -> Response:
        """Return the response for the result of a handler."""
        body = self.envelope(success=True, message=success.message)
        if success.data is not None:
            body["data"] = self.add_extra_fields(success.data)
        return self.json_response(success.status, body | (success.extra or {}))

    def error(self, error: ApiError) -> Response:
        """Return the response for an error."""
        body = self.envelope(success=False, message=error.message)
        if error.errors is not None:
            body["errors"] = error.errors
        response = self.json_response(error.status, body)
        response.headers.update(error.headers)
        return response

    def envelope(self, *, success: bool, message: str) -> dict[str, Any]:
        """Return the fields that every envelope has."""
        return {"success": success, "message": message}

    def json_response(self, status: int, body: dict[str, Any]) -> Response:
        """Return a response with the body as JSON."""
        ordered = reversed_keys(body) if self.key_order == "reversed" else body
        return Response(status, {"Content-Type": self.json_type()}, json.dumps(ordered).encode())

    def json_type(self) -> str:
        """Return the media type of JSON responses."""
        return "application/json; charset=utf-8" if self.extra else "application/json"

    def add_extra_fields(self, data: Any) -> Any:
        """Return the data with an unlisted field in every object, if the option ``extra`` is set."""
        if not self.extra:
            return data
        if isinstance(data, list):
            return [self.add_extra_fields(item) for item in data]
        if isinstance(data, dict):
            return {name: self.add_extra_fields(value) for name, value in data.items()} | {"x_note": "hello"}
        return data

    def send(self, request: Any, response: Response) -> bottle.HTTPResponse:
        """Return the response with the common headers, as Bottle expects it."""
        response.headers = {**self.common_headers(), **response.headers}
        self.adjust_response(request, response)
        return bottle.HTTPResponse(response.body, response.status, response.headers)

    def adjust_response(self, request: Any, response: Response) -> None:
        """Change the response before it is sent. This is a hook for mutants."""

    def common_headers(self) -> dict[str, str]:
        """Return the headers of all responses."""
        headers = {
            "X-Request-Id": self.request_id(),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Server": "small",  # the default of the library contains its version
        }
        return headers | ({"X-Note": "hello", "Vary": "Accept", "X-Powered-By": "tea"} if self.extra else {})

    def request_id(self) -> str:
        """Return a new request id."""
        return secrets.token_hex(8)

    def not_found(self) -> ApiError:
        """Return the 404 error."""
        return ApiError(404, "Not found.")

    def malformed(self) -> ApiError:
        """Return the 400 error for a body that cannot be parsed."""
        return ApiError(400, "The request is malformed.")

    def too_large(self) -> ApiError:
        """Return the 413 error."""
        return ApiError(413, "The request is too large.")

    def invalid(self, errors: Errors) -> ApiError:
        """Return the 422 error with the errors of each field."""
        return ApiError(422, "Validation failed", errors)
