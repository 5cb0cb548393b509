"""Requests as curl command lines."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from conformance.exchanges import text_of
from conformance.redaction import HIDDEN

if TYPE_CHECKING:
    from conformance.exchanges import Exchange, FormPart
    from conformance.redaction import Secrets

_MAX_TEXT_LENGTH = 4000
# Headers that curl sends by itself or that do not change the response.
_USUAL_HEADERS = frozenset(
    {"user-agent", "accept-encoding", "connection", "content-length", "host", "cookie"}
)


def curl_line(exchange: Exchange, secrets: Secrets) -> str:
    """Return a command that repeats the request, with variables for secrets and file names for uploads.

    A body that is not text or longer than 4000 characters is ``@request.bin``; usual headers are left out.
    """
    words = ["curl", "-i"]
    if exchange.method == "HEAD":
        words[1] = "-I"
    elif exchange.method != "GET" or exchange.request_body:
        words += ["-X", exchange.method]
    form = exchange.form
    for name, value in exchange.request_headers.items():
        words += _header(name, value, secrets, is_form=form is not None)
    if form is not None:
        for part in form:
            words += _part(part, secrets)
    elif exchange.request_body:
        words += ["--data-binary", _text(exchange.request_body, secrets) or "@request.bin"]
    words.append(shlex.quote(secrets.sanitize(exchange.url)))
    return " ".join(words)


def _header(name: str, value: str, secrets: Secrets, *, is_form: bool) -> list[str]:
    """Return the words of a header; none if curl sends it by itself or it does not change the response.

    A known token becomes a variable; credentials of a scheme other than Bearer are hidden.
    """
    if name.lower() == "authorization":
        scheme, _, credentials = value.partition(" ")
        if scheme.lower() != "bearer":
            return ["-H", shlex.quote(f"{name}: {scheme} {HIDDEN}")]
        shown = secrets.name_of(credentials)
        line = f"{name}: {scheme} {shown}"
        return ["-H", f'"{line}"' if shown.startswith("$") else shlex.quote(line)]
    if name.lower() in _USUAL_HEADERS or (name.lower(), value) == ("accept", "*/*"):
        return []
    if name.lower() == "content-type" and is_form:
        return []
    return ["-H", shlex.quote(f"{name}: {secrets.sanitize(value)}")]


def _part(part: FormPart, secrets: Secrets) -> list[str]:
    """Return the words of a part of a form.

    A file has its file name, or `image` if a shell would interpret that; a field that is not text or too long
    is read from a file named after the field.
    """
    if part.filename is None:
        text = _text(part.content, secrets)
        if text is None:
            return ["-F", shlex.quote(f"{part.field}=<field.bin")]
        # With -F these characters would name a file or describe one.
        option = "--form-string" if re.search("^'?[@<]|;", text) else "-F"
        return [option, f"{shlex.quote(part.field)}={text}"]
    name = secrets.sanitize(part.filename)
    # A file name that a shell would interpret is sent, but is not the name of the local file.
    plain = re.fullmatch(r"[\w.-]+", name) is not None
    file = f"@{name}" if plain else f'@image;filename="{name}"'
    return ["-F", shlex.quote(f"{part.field}={file};type={part.media_type}")]


def _text(body: bytes, secrets: Secrets) -> str | None:
    """Return the body without secrets, quoted for a shell; None if it is not text or over 4000 characters."""
    text = text_of(body)
    return None if text is None or len(text) > _MAX_TEXT_LENGTH else shlex.quote(secrets.sanitize(text))
