"""Requests and their answers as a report shows them: without anything that is secret."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = "[hidden]"
_SHOWN_BYTES = 4000
_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})
_SECRET_FIELDS = frozenset({"token", "password", "password_confirmation", "current_password"})
_LINK_FIELDS = frozenset({"download_url", "profile_photo_url"})
_SHORTEST_SECRET = 6  # a shorter one would blacken words that have nothing to do with it


class Secrets:
    """All that must not be shown: what the caller gave, and what the server handed out since."""

    def __init__(self, given: Iterable[str] = ()) -> None:
        self._known = {secret for secret in given if secret}

    @property
    def known(self) -> frozenset[str]:
        return frozenset(self._known)

    def add(self, secret: str) -> None:
        if len(secret) >= _SHORTEST_SECRET:
            self._known.add(secret)

    def learn(self, body: Any) -> None:
        """Tokens and signed links in an answer, wherever in it they stand."""
        if isinstance(body, dict):
            for name, value in body.items():
                if isinstance(value, str) and name in _SECRET_FIELDS:
                    self.add(value)
                    self.add(value.partition("|")[2])
                elif isinstance(value, str) and name in _LINK_FIELDS:
                    self.add(_signature(value))
                else:
                    self.learn(value)
        elif isinstance(body, list):
            for item in body:
                self.learn(item)

    def hide(self, text: str) -> str:
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
            escaped = json.dumps(secret)[1:-1]
            if escaped != secret:
                text = text.replace(escaped, HIDDEN)
        return re.sub(r"(?i)(bearer\s+)(?!\[hidden\])[\w|.~+/=-]+", rf"\1{HIDDEN}", text)


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, as sent: they are hidden what they must when they are shown."""

    method: str
    url: str
    request_headers: dict[str, str]
    request_body: bytes
    status: int | None  # None: no answer came
    headers: dict[str, str]
    body: bytes
    seconds: float
    problem: str = ""

    def shown(self, secrets: Secrets) -> dict[str, Any]:
        """For reports: text only, shortened, nothing secret in it."""
        return {
            "request": {
                "method": self.method,
                "url": secrets.hide(self.url),
                "headers": _shown_headers(self.request_headers, secrets),
                "body": _shown_body(self.request_body, secrets),
            },
            "response": None
            if self.status is None
            else {
                "status": self.status,
                "headers": _shown_headers(self.headers, secrets),
                "body": _shown_body(self.body, secrets),
            },
            "seconds": round(self.seconds, 3),
            "problem": secrets.hide(self.problem),
            "curl": self.curl(secrets),
        }

    def curl(self, secrets: Secrets) -> str:
        """A line that repeats the request, with the token in ``$TOKEN``; files of it are to be put in place."""
        words = ["curl", "-i", "-X", self.method]
        for name, value in self.request_headers.items():
            if name.lower() == "authorization":
                words.append('-H "Authorization: Bearer $TOKEN"')
            elif name.lower() in {"content-type", "accept"}:
                words += ["-H", shlex.quote(f"{name}: {secrets.hide(value)}")]
        if self.request_body:
            text = _shown_body(self.request_body, secrets)
            words += ["--data-binary", "@request.bin" if text.startswith("(") else shlex.quote(text)]
        words.append(shlex.quote(secrets.hide(self.url)))
        return " ".join(words)


def _shown_headers(headers: dict[str, str], secrets: Secrets) -> dict[str, str]:
    return {
        name: HIDDEN if name.lower() in _SECRET_HEADERS else secrets.hide(value)
        for name, value in headers.items()
    }


def _shown_body(body: bytes, secrets: Secrets) -> str:
    """Text as it is, of other things how much there is."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return f"({len(body):,} bytes that are no text)"
    if "\0" in text:
        return f"({len(body):,} bytes that are no text)"
    # Hidden before it is cut: half a secret at the end would not be found.
    text = secrets.hide(text)
    return text if len(text) <= _SHOWN_BYTES else f"{text[:_SHOWN_BYTES]} … ({len(body):,} bytes)"


def _signature(link: str) -> str:
    """The part of a link that lets anybody follow it: the last of its path, and the query."""
    parts = urlsplit(link)
    return parts.path.rpartition("/")[2] + (f"?{parts.query}" if parts.query else "")
