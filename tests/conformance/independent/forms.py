"""What clients send: JSON objects and forms, read by the letter."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

_PARAMETER = re.compile(r';\s*([\w-]+\*?)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


class Malformed(Exception):
    """It cannot be read at all."""


@dataclass(frozen=True)
class Part:
    """One field of a form. ``filename`` is None for a field that is no file."""

    name: str
    filename: str | None
    content: bytes

    @property
    def text(self) -> str:
        return _text(self.content)


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def form(content_type: str, body: bytes) -> list[Part]:
    """The fields of a ``multipart/form-data`` body, in order. Raises Malformed."""
    boundary = _parameters(content_type).get("boundary", "").encode("latin-1", "replace")
    if not boundary:
        raise Malformed
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise Malformed
    return [_part(piece) for piece in pieces[1:-1]]


def json_value(body: bytes) -> Any:
    """Raises Malformed for more than the contract allows JSON to be."""
    try:
        value = json.loads(_text(body), object_pairs_hook=_object, parse_constant=_constant)
        told = json.dumps(value, ensure_ascii=False)
        told.encode()  # an unpaired surrogate cannot be
    except (ValueError, RecursionError):
        raise Malformed from None
    if "\\u0000" in told:
        raise Malformed
    return value


def _part(piece: bytes) -> Part:
    head, separator, content = piece.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"\r\n"):
        raise Malformed
    for line in _text(head).split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            parameters = _parameters(value)
            if media_type(value) != "form-data" or "name" not in parameters:
                raise Malformed
            part = Part(parameters["name"], _filename(parameters), content)
            if part.filename is None:
                _ = part.text  # badly encoded text is malformed, whatever field it is in
            return part
    raise Malformed


def _parameters(header: str) -> dict[str, str]:
    return {
        name.lower(): re.sub(r'\\(["\\])', r"\1", quoted) if quoted else bare
        for name, quoted, bare in _PARAMETER.findall(header)
    }


def _filename(parameters: dict[str, str]) -> str | None:
    if "filename*" in parameters:
        return unquote(parameters["filename*"].rpartition("'")[2])
    return parameters.get("filename")


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Malformed from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(name)
