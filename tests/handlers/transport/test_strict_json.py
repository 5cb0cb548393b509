"""Tests of the strict JSON decoder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.transport.strict_json import MalformedJson, decode

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_valid_json_is_decoded(value: Any, ascii_only: bool) -> None:
    assert decode(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_malformed(body: bytes) -> None:
    try:
        decode(body)
    except MalformedJson:
        return


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'"\xff"',
        b'"\\ud83d"',
        b'["\\udc00"]',
        b'{"\\ud83d": 1}',
        b'"\\u0000"',
        b'{"a": {"b": ["\\u0000"]}}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b'{"a": 1, "a": 1}',
        b'[{"a": 1, "\\u0061": 2}]',
        b"9" * 5000,
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"01",
        b"1.",
        b"+1",
        b"'a'",
        b"[1,]",
        b'"a\tb"',
        b"{} x",
        b"/* */ {}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_ambiguous_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode(body)
