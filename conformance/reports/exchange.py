"""Exchanges as reports contain them: text only, shortened, without secrets."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from conformance.curl import curl_line
from conformance.exchanges import header, text_of
from conformance.redaction import HIDDEN

if TYPE_CHECKING:
    from conformance.exchanges import Exchange, FormPart
    from conformance.redaction import Secrets

_MAX_BODY_LENGTH = 4000
_MAX_FILE_BYTES = 65_536  # a larger uploaded file is left out of the report
_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})


def exchange_row(exchange: Exchange, secrets: Secrets, *, files: bool = False) -> dict[str, Any]:
    """Return the exchange for ``results.json``, without secrets in its texts; `response` is None without one.

    With ``files``, include the unchanged content of uploaded files up to 64 KiB. Bodies are cut.
    """
    response = None
    if exchange.status is not None:
        response = {
            "status": exchange.status,
            "headers": _headers(exchange.headers, secrets),
            "body": _body(exchange.body, secrets, header(exchange.headers, "content-type")),
        }
    form = exchange.form
    return {
        "request": {
            "method": exchange.method,
            "url": secrets.sanitize(exchange.url),
            "headers": _headers(exchange.request_headers, secrets),
            "body": _body(exchange.request_body, secrets) if form is None else _form(form, secrets),
            "files": [_file(part, secrets) for part in form or () if files and _is_kept(part)],
        },
        "response": response,
        "seconds": round(exchange.seconds, 3),
        "problem": secrets.sanitize(exchange.problem),
        "curl": curl_line(exchange, secrets),
    }


def _headers(headers: dict[str, str], secrets: Secrets) -> dict[str, str]:
    """Return the headers without secrets; the values of credentials and cookies are hidden as a whole."""
    return {
        secrets.sanitize(name): HIDDEN if name.lower() in _SECRET_HEADERS else secrets.sanitize(value)
        for name, value in headers.items()
    }


def _body(body: bytes, secrets: Secrets, media_type: str = "") -> str:
    """Return text without secrets, cut after 4000 characters, and only the size of anything else."""
    text = text_of(body)
    if text is None:
        kind = media_type.partition(";")[0]
        return f"({len(body):,} bytes{f' of {secrets.sanitize(kind)}' if kind else ' that are not text'})"
    # Hide before cutting: half a secret at the end would not be found. Searching megabytes takes seconds.
    shown = secrets.sanitize(text[: 5 * _MAX_BODY_LENGTH])
    return shown if len(text) <= _MAX_BODY_LENGTH else f"{shown[:_MAX_BODY_LENGTH]} … ({len(body):,} bytes)"


def _form(form: list[FormPart], secrets: Secrets) -> str:
    """Return a line for each part of a form: the text of a field; name, type and size of a file."""
    lines = []
    for part in form:
        if part.filename is None:
            shown = _body(part.content, secrets)
        else:
            shown = f"{secrets.hide(part.filename)} ({part.media_type}, {len(part.content):,} bytes)"
        lines.append(f"{part.field}: {shown}")
    return secrets.sanitize("\n".join(lines))


def _is_kept(part: FormPart) -> bool:
    """Return whether the part is a file, not empty and small enough for the report."""
    return part.filename is not None and 0 < len(part.content) <= _MAX_FILE_BYTES


def _file(part: FormPart, secrets: Secrets) -> dict[str, str]:
    """Return name and content, as a data URL, of an uploaded file; the content is not redacted."""
    content = base64.b64encode(part.content).decode()
    return {
        "name": secrets.sanitize(part.filename or ""),
        "content": f"data:application/octet-stream;base64,{content}",
    }
