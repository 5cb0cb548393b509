"""JSON as we write it: compact, UTF-8."""

from __future__ import annotations

import json
from typing import Any

_FORM: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}


def json_bytes(value: object) -> bytes:
    return json.dumps(value, **_FORM).encode()


class JsonText:
    """The same, for Connexion's Jsonifier, which wants a module with ``dumps`` and ``loads``."""

    loads = staticmethod(json.loads)

    @staticmethod
    def dumps(value: object, **_options: object) -> str:
        return json.dumps(value, **_FORM)
