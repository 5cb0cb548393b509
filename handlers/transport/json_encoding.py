"""JSON encoding of responses: compact, UTF-8, no NaN."""

from __future__ import annotations

import json


def json_text(value: object) -> str:
    """Return the value as JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def json_bytes(value: object) -> bytes:
    """Return the value as JSON in UTF-8."""
    return json_text(value).encode()
