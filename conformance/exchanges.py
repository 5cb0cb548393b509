"""The record of requests and their responses."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import Message


@dataclass(frozen=True)
class FormPart:
    """A part of a multipart form. ``filename`` is None for a plain field."""

    field: str
    filename: str | None
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Exchange:
    """One request and its response as sent, with their secrets."""

    method: str
    url: str
    request_headers: dict[str, str]
    request_body: bytes
    status: int | None  # None without a response
    headers: dict[str, str]
    body: bytes
    seconds: float
    problem: str = ""

    @property
    def form(self) -> list[FormPart] | None:
        """Return the parts of a multipart request body; None for any other or malformed body."""
        media_type = header(self.request_headers, "content-type")
        return _parts(media_type, self.request_body) if media_type.startswith("multipart/") else None


def header(headers: dict[str, str], name: str) -> str:
    """Return the value of a header by its lower-case name, in any case; an empty string if it is missing."""
    return next((value for known, value in headers.items() if known.lower() == name), "")


def text_of(body: bytes) -> str | None:
    """Return the body as text; None if it is not UTF-8 or contains NUL."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _parts(media_type: str, body: bytes) -> list[FormPart] | None:
    """Return the parts of a multipart body; None if it is malformed or a part has no name.

    Split by hand, because the standard parser takes seconds for megabytes; it parses only the headers.
    """
    boundary = _headers(f"Content-Type: {media_type}".encode()).get_boundary()
    pieces = body.split(f"--{boundary}".encode())
    if boundary is None or pieces[0] or pieces[-1].strip() != b"--":
        return None
    found = []
    for piece in pieces[1:-1]:
        head, between, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = _headers(head)
        name = headers.get_param("name", header="content-disposition")
        if not between or not isinstance(name, str):
            return None
        found.append(
            FormPart(name, headers.get_filename(), headers.get_content_type(), content.removesuffix(b"\r\n"))
        )
    return found


def _headers(lines: bytes) -> Message:
    """Return the headers in these lines; bytes that are not UTF-8 are replaced."""
    return message_from_string(lines.decode("utf-8", "replace") + "\r\n\r\n")
