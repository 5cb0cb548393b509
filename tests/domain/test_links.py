from __future__ import annotations

import re
import string
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import InvalidLink
from domain.links import LinkSigner

if TYPE_CHECKING:
    from datetime import datetime

PAYLOADS: list[dict[str, Any]] = [
    {},
    {"id": 7, "email": "jane@example.com"},
    {"name": "Größe 🎉.png", "key": "results/abc-1.png"},
    {"name": "a" * 250},  # long and repetitive enough to be compressed
]


@pytest.fixture
def end(clock: Any) -> datetime:
    expires_at: datetime = clock.now() + timedelta(hours=1)
    return expires_at


@pytest.mark.parametrize("payload", PAYLOADS)
def test_signed_payload_can_be_read(
    links: LinkSigner, clock: Any, end: datetime, payload: dict[str, Any]
) -> None:
    text = links.sign("download", payload, end)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", text)
    assert links.read("download", text, clock.now()) == payload


# Every position is tried with every other character that a link may contain.
@pytest.mark.parametrize("payload", PAYLOADS)
def test_link_with_any_changed_character_is_refused(
    links: LinkSigner, clock: Any, end: datetime, payload: dict[str, Any]
) -> None:
    text = links.sign("download", payload, end)
    for position, letter in enumerate(text):
        for other in set(string.ascii_letters + string.digits + "-_.=%~ ") - {letter}:
            with pytest.raises(InvalidLink):
                links.read("download", text[:position] + other + text[position + 1 :], clock.now())


def test_link_with_more_or_fewer_characters_is_refused(links: LinkSigner, clock: Any, end: datetime) -> None:
    text = links.sign("download", {"id": 7}, end)
    changed = [text[:position] + text[position + 1 :] for position in range(len(text))]
    changed += [text + extra for extra in (".", "=", "\n", " ", "A", text)]
    changed += [extra + text for extra in (".", "=", "\n", " ", "A")]
    for each in changed:
        with pytest.raises(InvalidLink):
            links.read("download", each, clock.now())


@example("\ud800")
@given(st.text(alphabet=st.characters(exclude_categories=[])) | st.text(alphabet="AZaz09-_."))
def test_any_other_text_is_refused_as_invalid_link(text: str) -> None:
    clock: Any = None
    with pytest.raises(InvalidLink):
        LinkSigner("a key for this test, long enough").read("download", text, clock)


def test_link_is_valid_for_one_purpose_only(links: LinkSigner, clock: Any, end: datetime) -> None:
    text = links.sign("download", {"id": 7}, end)
    for purpose in ("verify-email", "download2", ""):
        with pytest.raises(InvalidLink):
            links.read(purpose, text, clock.now())


def test_link_of_another_installation_is_refused(links: LinkSigner, clock: Any, end: datetime) -> None:
    text = LinkSigner("the key of another installation").sign("download", {"id": 7}, end)
    with pytest.raises(InvalidLink):
        links.read("download", text, clock.now())


def test_link_expires_after_its_last_second(links: LinkSigner, clock: Any, end: datetime) -> None:
    text = links.sign("download", {"id": 7}, end)
    whole_second = end.replace(microsecond=0)
    assert links.read("download", text, whole_second) == {"id": 7}
    with pytest.raises(InvalidLink):
        links.read("download", text, whole_second + timedelta(microseconds=1))


# The signer sets the expiry time, and a payload cannot override it.
def test_payload_cannot_set_the_expiry_time(links: LinkSigner, clock: Any, end: datetime) -> None:
    text = links.sign("download", {"exp": 2**40}, end)
    with pytest.raises(InvalidLink):
        links.read("download", text, end + timedelta(seconds=1))
    assert links.read("download", text, clock.now()) == {}
