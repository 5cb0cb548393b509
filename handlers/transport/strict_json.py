"""JSON bodies as RFC 8259 means them: UTF-8, every name once, no NaN, and nothing that only Python reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator


class MalformedJson(ValueError):  # the field's own word
    pass


def decode(body: bytes) -> Any:
    """Raises MalformedJson, whatever the body is."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
        for text in _strings(value):
            _check(text)
    except (ValueError, RecursionError) as reason:
        raise MalformedJson(str(reason)) from reason
    return value


def _check(text: str) -> None:
    """What JSON can write and no database would take: NUL, and halves of characters."""
    text.encode("utf-8")
    if "\0" in text:
        raise MalformedJson("A string contains NUL.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson("A name stands twice in an object.")
    return members


def _no_constant(name: str) -> NoReturn:
    raise MalformedJson(f"{name} is no JSON.")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _strings(member)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
