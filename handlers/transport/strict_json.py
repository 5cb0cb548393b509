"""Strict JSON decoder (RFC 8259): UTF-8, unique names, no NaN, and no text that only Python accepts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator


class MalformedJson(ValueError):
    """The body is not valid JSON."""


def decode(body: bytes) -> Any:
    """Return the value of a JSON text. Raise MalformedJson, and no other error, for any other bytes."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_reject_constant)
        for text in _strings(value):
            _check_text(text)
    except (ValueError, RecursionError) as reason:
        raise MalformedJson(str(reason)) from reason
    return value


def _check_text(text: str) -> None:
    """Reject NUL and lone surrogates, which JSON can express and no database stores."""
    text.encode("utf-8")
    if "\0" in text:
        raise MalformedJson("A string contains NUL.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of an object. Raise MalformedJson for a repeated name."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson("An object contains a name twice.")
    return members


def _reject_constant(name: str) -> NoReturn:
    """Raise MalformedJson for NaN, Infinity or -Infinity."""
    raise MalformedJson(f"{name} is not valid JSON.")


def _strings(value: Any) -> Iterator[str]:
    """Return every string in the value, names of members included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _strings(member)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
