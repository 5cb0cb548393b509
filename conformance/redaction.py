"""Redaction: the secrets of a run and their removal from texts."""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HIDDEN = "[hidden]"
_SECRET_FIELDS = frozenset(
    {"token", "access_token", "refresh_token", "api_token", "plain_text_token", "plainTextToken"}
    | {"password", "password_confirmation", "current_password"}
)
_LINK_FIELDS = frozenset({"download_url", "profile_photo_url"})
_TAG_PREFIX = "uprez-kit-"  # of the names of everything that a run creates
_MIN_SECRET_LENGTH = 6  # hiding a shorter secret would also hide unrelated words
_MIN_SIGNATURE_LENGTH = 10
# Of a secret of at least 16 characters, the first and last ten are hidden too, with the characters next to them: a
# server or a check may have truncated the secret or changed its other end.
_LONG_SECRET_LENGTH, _END_LENGTH = 16, 10
_CACHED_LENGTH = 100  # characters; short texts such as headers repeat in many exchanges
_TOKEN_CHARACTERS = r"[\w.~%+/=|:-]"  # noqa: S105  # not a password
_BEARER = re.compile(rf"(?i)(bearer\s+)(?!\[hidden\]|tokens?\.?(?!{_TOKEN_CHARACTERS})){_TOKEN_CHARACTERS}+")
_SIGNED = re.compile(
    r"(?i)((?:[?&]|&amp;|\\u0026)(?:signature|sig|token|x-amz-signature|x-amz-credential|x-amz-security-token)=)"
    r"(?!\[hidden\])[^&\s\"'<>\\]+"
)
# XML 1.0 and terminals do not allow control characters; a server may send any.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Secrets:
    """All texts to hide: the secrets given by the user, and those the server has sent since.

    ``given`` has the secrets by their names in curl lines. ``plain`` is never hidden as a part of a link.
    """

    def __init__(self, given: Mapping[str, str | None] | None = None, plain: str = "") -> None:
        """Add the given secrets of any length, and the part after the "|" of a token if it is long enough."""
        self._names = {secret: name for name, secret in (given or {}).items() if secret}
        self._plain = plain
        self._known: set[str] = set(self._names)
        self._indexed = -1  # the number of secrets that the index below covers
        # Forms of the secrets by their first letters, each with the pattern to hide if that is more than the form.
        self._by_start: dict[str, list[tuple[str, str | None]]] = {}
        self._short: list[tuple[str, str | None]] = []
        self._hidden: dict[str, str] = {}
        for secret in self._names:
            self.add(secret.partition("|")[2])

    @property
    def known(self) -> frozenset[str]:
        return frozenset(self._known)

    def add(self, secret: str) -> None:
        """Hide this text from now on, unless it has fewer than 6 characters."""
        if len(secret) >= _MIN_SECRET_LENGTH:
            self._known.add(secret)

    def learn(self, body: Any) -> None:
        """Add the tokens and passwords by field name, and the random parts of links, anywhere in a JSON body.

        Other texts and types are ignored; too short ones too.
        """
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
        """Add the random parts of the Location and the value of the first cookie of Set-Cookie."""
        for name, value in headers.items():
            if name.lower() == "location":
                self.learn_link(value)
            elif name.lower() == "set-cookie":
                self.add(value.partition("=")[2].partition(";")[0])

    def learn_link(self, link: str) -> None:
        """Add the parts of path and query that look random, because they authorize a download.

        Ignore parts of ``plain`` and a link that is not a valid URL.
        """
        try:
            parts = urlsplit(link)
        except ValueError:
            return
        query = [value for _, value in parse_qsl(parts.query)]
        raw = [pair.partition("=")[2] for pair in parts.query.split("&")]
        for part in (*parts.path.split("/"), *query, *raw):
            if _looks_random(part) and part not in self._plain:
                self.add(part)

    def hide(self, text: str) -> str:
        """Return the text without secrets, also as encoded in JSON, URLs, HTML, Python and Basic credentials.

        Signatures in URLs and the text after "Bearer" are hidden even if they are unknown.
        """
        return _BEARER.sub(rf"\1{HIDDEN}", self._hide_known(text))

    def sanitize(self, text: str) -> str:
        """Return the text without secrets and without characters that XML and terminals do not allow."""
        return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", self.hide(text))

    def name_of(self, token: str) -> str:
        """Return the variable that stands for a token in a curl line.

        It is $ANOTHER_TOKEN for a secret without a name. A token that is not secret is returned itself,
        without control characters.
        """
        if token in self._names:
            return f"${self._names[token]}"
        hidden = self._hide_known(token) != token
        return "$ANOTHER_TOKEN" if hidden else _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", token)

    def _hide_known(self, text: str) -> str:
        """Return the text without known secrets and signatures; keep the results of short texts.

        Index the secrets again if there are new ones.
        """
        if self._indexed != len(self._known):
            self._index()
        if text not in self._hidden:
            hidden = self._replace_known(text)
            if len(text) > _CACHED_LENGTH:
                return hidden
            self._hidden[text] = hidden
        return self._hidden[text]

    def _replace_known(self, text: str) -> str:
        """Replace known secrets, the longest forms first, and signatures in URLs, and return the text."""
        # A run has hundreds of links and thousands of texts: a search for each in each takes half a minute.
        starts = {text[at : at + _MIN_SECRET_LENGTH] for at in range(len(text) - _MIN_SECRET_LENGTH + 1)}
        starts &= self._by_start.keys()
        found = [form for start in starts for form in self._by_start[start] if form[0] in text]
        for form, pattern in sorted([*found, *self._short], key=lambda one: len(one[0]), reverse=True):
            text = text.replace(form, HIDDEN) if pattern is None else re.sub(pattern, HIDDEN, text)
        return _SIGNED.sub(rf"\1{HIDDEN}", text) if "=" in text else text

    def _index(self) -> None:
        """Index all forms of the known secrets by their first six characters, and forget earlier results."""
        self._indexed = len(self._known)
        written: dict[str, str | None] = {}
        for secret in self._known:
            if len(secret) >= _LONG_SECRET_LENGTH:
                head, tail = secret[:_END_LENGTH], secret[-_END_LENGTH:]
                written[head] = re.escape(head) + f"{_TOKEN_CHARACTERS}*"
                written[tail] = r"[\w.~%+|-]*" + re.escape(tail)
        written |= {form: None for secret in self._known for form in _forms(secret)}
        self._hidden = {}
        self._by_start = defaultdict(list)
        self._short = []
        for form, pattern in written.items():
            bucket = (
                self._by_start[form[:_MIN_SECRET_LENGTH]] if len(form) >= _MIN_SECRET_LENGTH else self._short
            )
            bucket.append((form, pattern))


def _looks_random(part: str) -> bool:
    """Return whether a part of a URL may be a signature: at least 10 characters with a digit or capital.

    From 20 characters on any part does, but never a decimal number or a name of the run.
    """
    if len(part) < _MIN_SIGNATURE_LENGTH or part.isdecimal() or _TAG_PREFIX in part:
        return False
    return len(part) >= 2 * _MIN_SIGNATURE_LENGTH or part != part.lower() or bool(re.search(r"\d", part))


@cache
def _forms(secret: str) -> tuple[str, ...]:
    """Return the secret as requests, responses and reports may encode it, longest form first."""
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
    found |= set(_base64_forms(secret.encode()))
    return tuple(sorted(found, key=len, reverse=True))


def _base64_forms(secret: bytes) -> Iterator[str]:
    """Yield the Base64 characters that do not depend on the bytes before and after, as in Basic authentication."""
    for before in range(3):
        end = (before + len(secret)) // 3 * 4
        text = base64.b64encode(bytes(before) + secret).decode()[(0, 2, 3)[before] : end]
        if len(text) >= _MIN_SECRET_LENGTH:
            yield text
            yield text.translate(str.maketrans("+/", "-_"))
