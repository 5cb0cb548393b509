"""Signed links: a payload nobody can change, with its purpose and its end inside."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, URLSafeSerializer

from domain.errors import InvalidLink

if TYPE_CHECKING:
    from datetime import datetime


class LinkSigner:
    def __init__(self, secret_key: str) -> None:
        self._secret_key = secret_key

    def sign(self, purpose: str, payload: dict[str, Any], expires_at: datetime) -> str:
        """URL-safe text: letters, digits, ``-``, ``_`` and ``.``."""
        text = self._serializer(purpose).dumps({**payload, "exp": int(expires_at.timestamp())})
        assert isinstance(text, str)
        return text

    def read(self, purpose: str, text: str, now: datetime) -> dict[str, Any]:
        """Raises LinkRefused for text that was changed, is for something else, or has expired."""
        serializer = self._serializer(purpose)
        try:
            payload = serializer.loads(text)
        except (BadData, UnicodeEncodeError) as reason:
            raise InvalidLink from reason
        # Base64 has spare bits in its last letter: text that differs there would verify as well.
        if serializer.dumps(payload) != text or payload.pop("exp") < now.timestamp():
            raise InvalidLink
        return dict(payload)

    def _serializer(self, purpose: str) -> URLSafeSerializer:
        return URLSafeSerializer(
            self._secret_key, salt=f"uprez.{purpose}", signer_kwargs={"digest_method": hashlib.sha256}
        )
