"""Parse and validate what requests contain: bodies and numbers."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

from independent import forms
from independent.envelope import ApiError, Envelope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from independent.envelope import Errors
    from independent.forms import Part


class RequestParsing(Envelope):
    """The parsers, which raise ``ApiError`` for what the contract does not accept."""

    def json_body(self, request: Any, max_bytes: int) -> dict[str, Any]:
        """Return the JSON object of the request. Raise ``ApiError`` for any other body."""
        value = self.parse_json(self.body(request, max_bytes, "application/json"))
        if not isinstance(value, dict):
            raise self.invalid({"body": ["The body must be an object."]})
        return value

    def form_body(self, request: Any, max_bytes: int) -> list[Part]:
        """Return the fields of the request's form. Raise ``ApiError`` for any other body."""
        return self.parse_form(request.content_type, self.body(request, max_bytes, "multipart/form-data"))

    def body(self, request: Any, max_bytes: int, wanted_type: str) -> bytes:
        """Return the body. Raise ``ApiError`` with 413 or 415 if its size or media type is not accepted."""
        if request.content_length > max_bytes:
            raise self.too_large()
        if not self.has_media_type(request.environ.get("CONTENT_TYPE", ""), wanted_type):
            raise ApiError(415, "Unsupported media type.")
        with closing(request.body) as stream:
            content: bytes = stream.read()
        if len(content) > max_bytes:
            raise self.too_large()
        return content

    def has_media_type(self, content_type: str, wanted: str) -> bool:
        """Return True if the header names the media type, with any parameters."""
        return forms.media_type(content_type) == wanted

    def parse_json(self, body: bytes) -> Any:
        """Return the JSON value. Raise ``ApiError`` with 400 if the body is malformed."""
        try:
            return forms.parse_json(body)
        except forms.MalformedBody:
            raise self.malformed() from None

    def parse_form(self, content_type: str, body: bytes) -> list[Part]:
        """Return the fields of the form. Raise ``ApiError`` with 400 if the body is malformed."""
        try:
            return forms.parse_multipart(content_type, body)
        except forms.MalformedBody:
            raise self.malformed() from None

    def unknown_field_errors(self, names: Iterable[str], known: set[str]) -> Errors:
        """Return an error for each field that the operation does not have."""
        return {name: ["There is no such field."] for name in names if name not in known}

    def parse_integer(self, text: str) -> int | None:
        """Return the number that the text writes in at most 18 decimal digits, otherwise None."""
        return int(text) if re.fullmatch("[0-9]{1,18}", text) else None
