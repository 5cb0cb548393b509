from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.email_addresses import normalize_email


@pytest.mark.parametrize(
    ("email", "normal"),
    [
        ("jane@example.com", "jane@example.com"),
        ("JANE.Smith+Tag@Example.COM", "jane.smith+tag@example.com"),
        ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example"),
        ("JÜRGEN@bücher.example", "jürgen@xn--bcher-kva.example"),
        ("ju\u0308rgen@example.com", "jürgen@example.com"),
        ("jane@example\u3002com", "jane@example.com"),  # the full stop of Japanese keyboards
    ],
)
def test_address_has_one_normal_form(email: str, normal: str) -> None:
    assert normalize_email(email) == normal
    assert normalize_email(normal) == normal


# The two domains look alike but are different: with one normal form, one owner would get the other's account.
def test_homograph_is_a_different_address() -> None:
    assert normalize_email("jane@ex\u0430mple.com") == "jane@xn--exmple-4nf.com"


@pytest.mark.parametrize(
    "email",
    [
        "",
        "@",
        "jane",
        "jane@",
        "@example.com",
        "jane@example",
        "jane@@example.com",
        "jane@example..com",
        ".jane@example.com",
        "jane @example.com",
        " jane@example.com",
        "jane@example.com\n",
        "jane@example.com\r\nBcc: all@example.com",
        "jane\0@example.com",
        "Jane <jane@example.com>",
        "jane@[127.0.0.1]",
        "jane@exa_mple.com",
        "jane@\u202eexample.com",
        "\ud800@example.com",
        "a" * 65 + "@" + "example." * 40 + "com",
    ],
)
def test_invalid_address_has_no_normal_form(email: str) -> None:
    assert normalize_email(email) is None


def test_missing_address_has_no_normal_form() -> None:
    assert normalize_email(None) is None


@given(st.text() | st.emails() | st.builds("{}@{}.example".format, st.text(), st.text()))
def test_normal_form_is_unchanged_by_normalizing(email: str) -> None:
    normal = normalize_email(email)
    assert normal is None or normalize_email(normal) == normal
