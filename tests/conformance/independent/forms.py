"""Strict parsers for the request bodies: JSON and ``multipart/form-data``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

_PARAMETER = re.compile(r';\s*([\w-]+\*?)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


class MalformedBody(Exception):
    """The body cannot be parsed."""


@dataclass(frozen=True)
class Part:
    """One field of a form. ``filename`` is None for a text field."""

    name: str
    filename: str | None
    content: bytes

    @property
    def text(self) -> str:
        """Return the content decoded as UTF-8. Raise MalformedBody if it is not UTF-8."""
        return _decode_text(self.content)


def media_type(content_type: str) -> str:
    """Return the media type of a header value in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def parse_multipart(content_type: str, body: bytes) -> list[Part]:
    """Return the fields of a ``multipart/form-data`` body in order. Raise MalformedBody if it is invalid."""
    boundary = _parameters(content_type).get("boundary", "").encode("latin-1", "replace")
    if not boundary:
        raise MalformedBody
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise MalformedBody
    return [_parse_part(piece) for piece in pieces[1:-1]]


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raise MalformedBody for invalid JSON and for what the contract excludes: duplicate names, NaN and
    Infinity, unpaired surrogates, and NUL characters.
    """
    try:
        value = json.loads(
            _decode_text(body), object_pairs_hook=_unique_names, parse_constant=_reject_constant
        )
        serialized = json.dumps(value, ensure_ascii=False)
        serialized.encode()  # fails for an unpaired surrogate
    except (ValueError, RecursionError):
        raise MalformedBody from None
    if "\\u0000" in serialized:
        raise MalformedBody
    return value


def _parse_part(piece: bytes) -> Part:
    head, separator, content = piece.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"\r\n"):
        raise MalformedBody
    for line in _decode_text(head).split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            parameters = _parameters(value)
            if media_type(value) != "form-data" or "name" not in parameters:
                raise MalformedBody
            part = Part(parameters["name"], _filename(parameters), content)
            if part.filename is None:
                _ = part.text  # invalid UTF-8 is malformed in any text field, known or not
            return part
    raise MalformedBody


def _parameters(header: str) -> dict[str, str]:
    return {
        name.lower(): re.sub(r'\\(["\\])', r"\1", quoted) if quoted else bare
        for name, quoted, bare in _PARAMETER.findall(header)
    }


def _filename(parameters: dict[str, str]) -> str | None:
    if "filename*" in parameters:
        return unquote(parameters["filename*"].rpartition("'")[2])
    return parameters.get("filename")


def _decode_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise MalformedBody from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate name")
    return found


def _reject_constant(name: str) -> Any:
    raise ValueError(name)
