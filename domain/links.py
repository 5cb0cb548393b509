"""Signed links: a payload with a signature over its content, its purpose and its expiry time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, URLSafeSerializer

from domain.errors import InvalidLink

if TYPE_CHECKING:
    from datetime import datetime


class LinkSigner:
    """Signs and verifies the payloads of links with the installation's secret key (HMAC-SHA256)."""

    def __init__(self, secret_key: str) -> None:
        self._secret_key = secret_key

    def sign(self, purpose: str, payload: dict[str, Any], expires_at: datetime) -> str:
        """Return the signed payload as URL-safe text: letters, digits, ``-``, ``_`` and ``.``.

        The expiry time is added to it as ``exp``, in whole seconds. The payload is signed, not encrypted.
        """
        text = self._serializer(purpose).dumps({**payload, "exp": int(expires_at.timestamp())})
        assert isinstance(text, str)
        return text

    def read(self, purpose: str, text: str, now: datetime) -> dict[str, Any]:
        """Return the payload of a signed text.

        Raise InvalidLink if it was changed, has another purpose or expired.
        """
        serializer = self._serializer(purpose)
        try:
            payload = serializer.loads(text)
        except (BadData, UnicodeEncodeError) as reason:
            raise InvalidLink from reason
        # The last Base64 character has unused bits: without this check, text that differs there would be valid too.
        if serializer.dumps(payload) != text or payload.pop("exp") < now.timestamp():
            raise InvalidLink
        return dict(payload)

    def _serializer(self, purpose: str) -> URLSafeSerializer:
        """Return a signer for this purpose: texts that it signs are invalid for every other purpose."""
        return URLSafeSerializer(
            self._secret_key, salt=f"uprez.{purpose}", signer_kwargs={"digest_method": hashlib.sha256}
        )
