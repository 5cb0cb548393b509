"""The contract in OpenAPI 3.1, generated from the document in 3.0.3 that Connexion reads."""

from __future__ import annotations

from typing import Any

_VERSION = "3.1.0"
_BINARY = {"contentMediaType": "application/octet-stream"}
_VALUES = frozenset({"value", "example", "default", "enum"})
"""Keys whose values are data and not parts of the document."""


def to_openapi31(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of an OpenAPI 3.0 document in OpenAPI 3.1, whose schemas are JSON Schema 2020-12.

    ``nullable`` becomes the type ``null``, and the format ``binary`` a media type. Raise ValueError for what the
    contract does not use: boolean ``exclusiveMinimum`` and ``exclusiveMaximum``, and ``nullable`` without a type.
    """
    converted: dict[str, Any] = _convert(document)
    return {**converted, "openapi": _VERSION}


def _convert(node: Any) -> Any:
    """Return a converted copy of any part of the document."""
    if isinstance(node, list):
        return [_convert(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A property may have the name of a keyword, but its schema is an object.
    made = {name: value if _is_data(name, value) else _convert(value) for name, value in node.items()}
    if isinstance(made.get("nullable"), bool) and made.pop("nullable"):
        if not isinstance(made.get("type"), str):
            raise ValueError("nullable needs a type, https://spec.openapis.org/oas/v3.0.3#schema-nullable")
        made["type"] = [made["type"], "null"]
    if any(isinstance(made.get(name), bool) for name in ("exclusiveMinimum", "exclusiveMaximum")):
        raise ValueError("exclusiveMinimum and exclusiveMaximum are not converted")
    if made.get("format") == "binary":
        del made["format"]
        made |= _BINARY
    return made


def _is_data(name: str, value: Any) -> bool:
    """Return whether the value of this key is data, which is kept as it is."""
    return name in _VALUES and not (isinstance(value, dict) and "type" in value and name != "value")
