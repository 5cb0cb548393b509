"""Requests and their answers as a report shows them: without anything that is secret."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections import defaultdict
from dataclasses import dataclass
from email import message_from_string
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

HIDDEN = "[hidden]"
_SHOWN_BYTES = 4000
_KEPT_FILE_BYTES = 65_536  # a file up to this size can go into a report, so that its request can be repeated
_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})
_SECRET_FIELDS = frozenset(
    {"token", "access_token", "refresh_token", "api_token", "plain_text_token", "plainTextToken"}
    | {"password", "password_confirmation", "current_password"}
)
_LINK_FIELDS = frozenset({"download_url", "profile_photo_url"})
_OURS = "uprez-kit-"  # begins the name of all that a run makes
_SHORTEST_SECRET = 6  # a shorter one would blacken words that have nothing to do with it
_SHORTEST_SIGNATURE = 10
# Of a secret at least this long, its first or last ten characters are hidden too, with what hangs on them: a server
# or a check may have cut it off, or changed its other end.
_LONG_SECRET, _END = 16, 10
_OFTEN_SHOWN = 100  # characters: headers, above all, are the same in many exchanges
_TOKEN_CHARACTERS = r"[\w.~%+/=|:-]"  # noqa: S105  # no password
_BEARER = re.compile(rf"(?i)(bearer\s+)(?!\[hidden\]|tokens?\.?(?!{_TOKEN_CHARACTERS})){_TOKEN_CHARACTERS}+")
_SIGNED = re.compile(
    r"(?i)((?:[?&]|&amp;|\\u0026)(?:signature|sig|token|x-amz-signature|x-amz-credential|x-amz-security-token)=)"
    r"(?!\[hidden\])[^&\s\"'<>\\]+"
)
# XML 1.0 and terminals take no control characters; a server may send any.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Secrets:
    """All that must not be shown: what the caller gave, and what the server handed out since.

    ``given`` by the names that stand for them in curl lines; ``plain`` is shown whatever a link has in it.
    """

    def __init__(self, given: Mapping[str, str | None] | None = None, plain: str = "") -> None:
        self._names = {secret: name for name, secret in (given or {}).items() if secret}
        self._plain = plain
        self._known: set[str] = set(self._names)
        self._reckoned = -1  # for how many of them the following stand
        # What to look for by its first letters, and the pattern to hide where that is more than itself.
        self._by_start: dict[str, list[tuple[str, str | None]]] = {}
        self._short: list[tuple[str, str | None]] = []
        self._hidden: dict[str, str] = {}
        for secret in self._names:
            self.add(secret.partition("|")[2])

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
                if not isinstance(value, str):
                    self.learn(value)
                elif name in _SECRET_FIELDS:
                    self.add(value)
                    self.add(value.partition("|")[2])
                elif name in _LINK_FIELDS or _SIGNED.search(value):
                    self.learn_link(value)
        elif isinstance(body, list):
            for item in body:
                self.learn(item)

    def learn_headers(self, headers: Mapping[str, str]) -> None:
        """Where an answer sends to, and the cookie that it sets."""
        for name, value in headers.items():
            if name.lower() == "location":
                self.learn_link(value)
            elif name.lower() == "set-cookie":
                self.add(value.partition("=")[2].partition(";")[0])

    def learn_link(self, link: str) -> None:
        """The parts of a link that let anybody follow it: those of its path and query that look like chance."""
        try:
            parts = urlsplit(link)
        except ValueError:
            return
        query = [value for _, value in parse_qsl(parts.query)]
        raw = [pair.partition("=")[2] for pair in parts.query.split("&")]
        for part in (*parts.path.split("/"), *query, *raw):
            if _looks_like_chance(part) and part not in self._plain:
                self.add(part)

    def hide(self, text: str) -> str:
        """The text without secrets, as they are and as JSON, URLs, HTML, Python and Basic authentication write them."""
        return _BEARER.sub(rf"\1{HIDDEN}", self._hide_known(text))

    def shown(self, text: str) -> str:
        """As ``hide``, and without characters that XML and terminals cannot take."""
        return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", self.hide(text))

    def name_of(self, secret: str) -> str:
        """What a curl line has in its place: a variable, or itself if it is no secret."""
        if secret in self._names:
            return f"${self._names[secret]}"
        hidden = self._hide_known(secret) != secret
        return "$ANOTHER_TOKEN" if hidden else _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", secret)

    def _hide_known(self, text: str) -> str:
        if self._reckoned != len(self._known):
            self._reckon()
        if text not in self._hidden:
            hidden = self._searched(text)
            if len(text) > _OFTEN_SHOWN:
                return hidden
            self._hidden[text] = hidden
        return self._hidden[text]

    def _searched(self, text: str) -> str:
        # A run learns hundreds of links and shows thousands of texts: looking for each in each takes half a minute.
        starts = {text[at : at + _SHORTEST_SECRET] for at in range(len(text) - _SHORTEST_SECRET + 1)}
        starts &= self._by_start.keys()
        found = [form for start in starts for form in self._by_start[start] if form[0] in text]
        for form, pattern in sorted([*found, *self._short], key=lambda one: len(one[0]), reverse=True):
            text = text.replace(form, HIDDEN) if pattern is None else re.sub(pattern, HIDDEN, text)
        return _SIGNED.sub(rf"\1{HIDDEN}", text) if "=" in text else text

    def _reckon(self) -> None:
        self._reckoned = len(self._known)
        written: dict[str, str | None] = {}
        for secret in self._known:
            if len(secret) >= _LONG_SECRET:
                head, tail = secret[:_END], secret[-_END:]
                written[head] = re.escape(head) + f"{_TOKEN_CHARACTERS}*"
                written[tail] = r"[\w.~%+|-]*" + re.escape(tail)
        written |= {form: None for secret in self._known for form in _forms(secret)}
        self._hidden = {}
        self._by_start = defaultdict(list)
        self._short = []
        for form, pattern in written.items():
            kept = self._by_start[form[:_SHORTEST_SECRET]] if len(form) >= _SHORTEST_SECRET else self._short
            kept.append((form, pattern))


@dataclass(frozen=True)
class File:
    """A part of a form. ``filename`` is None for a plain field."""

    field: str
    filename: str | None
    media_type: str
    content: bytes


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

    @property
    def form(self) -> list[File] | None:
        """The parts of a multipart body; None for any other, malformed ones included."""
        media_type = self._sent("content-type")
        return _parts(media_type, self.request_body) if media_type.startswith("multipart/") else None

    def shown(self, secrets: Secrets, *, files: bool = False) -> dict[str, Any]:
        """For reports: text only, shortened, nothing secret in it. With ``files``, the small ones that were sent."""
        answer = None
        if self.status is not None:
            media_type = next((v for name, v in self.headers.items() if name.lower() == "content-type"), "")
            answer = {
                "status": self.status,
                "headers": _shown_headers(self.headers, secrets),
                "body": _shown_body(self.body, secrets, media_type),
            }
        form = self.form
        return {
            "request": {
                "method": self.method,
                "url": secrets.shown(self.url),
                "headers": _shown_headers(self.request_headers, secrets),
                "body": _shown_body(self.request_body, secrets)
                if form is None
                else _shown_form(form, secrets),
                "files": [_kept(part, secrets) for part in form or () if files and _is_kept(part)],
            },
            "response": answer,
            "seconds": round(self.seconds, 3),
            "problem": secrets.shown(self.problem),
            "curl": self.curl(secrets),
        }

    def curl(self, secrets: Secrets) -> str:
        """A line that repeats the request, with secrets as variables; files of it are to be put in place."""
        words = ["curl", "-i"]
        if self.method == "HEAD":
            words[1] = "-I"
        elif self.method != "GET" or self.request_body:
            words += ["-X", self.method]
        form = self.form
        for name, value in self.request_headers.items():
            words += _curl_header(name, value, secrets, is_form=form is not None)
        if form is not None:
            for part in form:
                words += _curl_part(part, secrets)
        elif self.request_body:
            words += ["--data-binary", _curl_text(self.request_body, secrets) or "@request.bin"]
        words.append(shlex.quote(secrets.shown(self.url)))
        return " ".join(words)

    def _sent(self, header: str) -> str:
        return next((value for name, value in self.request_headers.items() if name.lower() == header), "")


def _looks_like_chance(part: str) -> bool:
    if len(part) < _SHORTEST_SIGNATURE or part.isdecimal() or _OURS in part:
        return False
    return len(part) >= 2 * _SHORTEST_SIGNATURE or part != part.lower() or bool(re.search(r"\d", part))


@cache
def _forms(secret: str) -> tuple[str, ...]:
    """As it is, and as the ways of writing that a request, an answer or a report goes through turn it."""
    found = {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    }
    found |= {form.replace("/", "\\/") for form in found}
    for safe in ("", "/", "!$&'()*+,;=:@/?", "!#$%&'()*+,/:;=?@[]~"):
        found |= {quote(secret, safe=safe), quote_plus(secret, safe=safe)}
    found |= {re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in found}
    found |= {escape(secret), escape(secret, quote=False)}
    found |= set(_in_base64(secret.encode()))
    return tuple(sorted(found, key=len, reverse=True))


def _in_base64(secret: bytes) -> Iterator[str]:
    """What of it is the same whatever stands before and behind it, as in Basic authentication."""
    for before in range(3):
        end = (before + len(secret)) // 3 * 4
        text = base64.b64encode(bytes(before) + secret).decode()[(0, 2, 3)[before] : end]
        if len(text) >= _SHORTEST_SECRET:
            yield text
            yield text.translate(str.maketrans("+/", "-_"))


def _parts(media_type: str, body: bytes) -> list[File] | None:
    """Split by hand: the standard parser takes seconds for megabytes. Their headers are read by it."""
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
        media_type = headers.get_content_type()
        found.append(File(name, headers.get_filename(), media_type, content.removesuffix(b"\r\n")))
    return found


def _headers(lines: bytes) -> Message:
    return message_from_string(lines.decode("utf-8", "replace") + "\r\n\r\n")


def _shown_form(form: list[File], secrets: Secrets) -> str:
    lines = []
    for part in form:
        if part.filename is None:
            shown = _shown_body(part.content, secrets)
        else:
            shown = f"{secrets.hide(part.filename)} ({part.media_type}, {len(part.content):,} bytes)"
        lines.append(f"{part.field}: {shown}")
    return secrets.shown("\n".join(lines))


def _is_kept(part: File) -> bool:
    return part.filename is not None and 0 < len(part.content) <= _KEPT_FILE_BYTES


def _kept(part: File, secrets: Secrets) -> dict[str, str]:
    content = base64.b64encode(part.content).decode()
    return {
        "name": secrets.shown(part.filename or ""),
        "content": f"data:application/octet-stream;base64,{content}",
    }


def _curl_header(name: str, value: str, secrets: Secrets, *, is_form: bool) -> list[str]:
    """Those that make a difference; curl makes the others itself."""
    if name.lower() == "authorization":
        scheme, _, credentials = value.partition(" ")
        if scheme.lower() != "bearer":
            return ["-H", shlex.quote(f"{name}: {scheme} {HIDDEN}")]
        shown = secrets.name_of(credentials)
        line = f"{name}: {scheme} {shown}"
        return ["-H", f'"{line}"' if shown.startswith("$") else shlex.quote(line)]
    usual = {"user-agent", "accept-encoding", "connection", "content-length", "host", "cookie"}
    if name.lower() in usual or (name.lower(), value) == ("accept", "*/*"):
        return []
    if name.lower() == "content-type" and is_form:
        return []
    return ["-H", shlex.quote(f"{name}: {secrets.shown(value)}")]


def _curl_part(part: File, secrets: Secrets) -> list[str]:
    if part.filename is None:
        text = _curl_text(part.content, secrets)
        if text is None:
            return ["-F", shlex.quote(f"{part.field}=<field.bin")]
        # To -F these characters would mean a file, or something about it.
        option = "--form-string" if re.search("^'?[@<]|;", text) else "-F"
        return [option, f"{shlex.quote(part.field)}={text}"]
    name = secrets.shown(part.filename)
    # The file may have any name here; the one it is sent with is told where a shell would mind it.
    plain = re.fullmatch(r"[\w.-]+", name) is not None
    file = f"@{name}" if plain else f'@picture;filename="{name}"'
    return ["-F", shlex.quote(f"{part.field}={file};type={part.media_type}")]


def _curl_text(body: bytes, secrets: Secrets) -> str | None:
    """In quotes; None for what is no text, or too long for a line."""
    text = _text_of(body)
    return None if text is None or len(text) > _SHOWN_BYTES else shlex.quote(secrets.shown(text))


def _shown_headers(headers: dict[str, str], secrets: Secrets) -> dict[str, str]:
    return {
        secrets.shown(name): HIDDEN if name.lower() in _SECRET_HEADERS else secrets.shown(value)
        for name, value in headers.items()
    }


def _shown_body(body: bytes, secrets: Secrets, media_type: str = "") -> str:
    """Text as it is, of other things how much there is."""
    text = _text_of(body)
    if text is None:
        kind = media_type.partition(";")[0]
        return f"({len(body):,} bytes{f' of {secrets.shown(kind)}' if kind else ' that are no text'})"
    # Hidden before it is cut: half a secret at the end would not be found. Looking through megabytes takes seconds.
    shown = secrets.shown(text[: 5 * _SHOWN_BYTES])
    return shown if len(text) <= _SHOWN_BYTES else f"{shown[:_SHOWN_BYTES]} … ({len(body):,} bytes)"


def _text_of(body: bytes) -> str | None:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
