from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from domain.passwords import MAX_LENGTH, Passwords, password_problems

if TYPE_CHECKING:
    from domain.errors import FieldProblem

GOOD = "Correct-Horse-9"


def policy(password: str, confirmation: str | None = None) -> list[str]:
    problems: list[FieldProblem] = list(password_problems(password, confirmation))
    assert {problem.field for problem in problems} <= {"password"}
    return [problem.rule for problem in problems]


@pytest.mark.parametrize(
    ("password", "broken"),
    [
        (GOOD, []),
        ("aB345678", []),
        ("aB34567", ["min_characters"]),
        ("ab345678", ["mixed_case"]),
        ("AB345678", ["mixed_case"]),
        ("aBcdefgh", ["number_in"]),
        ("abc", ["min_characters", "mixed_case", "number_in"]),
        ("", ["min_characters", "mixed_case", "number_in"]),
        ("aB3" + "x" * (MAX_LENGTH - 3), []),
        ("aB3" + "x" * (MAX_LENGTH - 2), ["max_characters"]),
        ("Überlänge 9", []),
        ("ÄÖÜäöüß9", []),
        ("Пароль12", []),
        ("密码密码密码密码9", ["mixed_case"]),  # letters without case
    ],
)
def test_every_rule_that_a_password_breaks_is_told(password: str, broken: list[str]) -> None:
    assert policy(password) == broken


# Characters, not bytes: four emoji are sixteen bytes and still four characters.
def test_length_is_counted_in_characters() -> None:
    assert policy("aB3🎉🎉🎉🎉") == ["min_characters"]
    assert policy("aB3🎉🎉🎉🎉🎉") == []


def test_a_repetition_that_differs_is_told_with_the_rest() -> None:
    assert policy(GOOD, GOOD) == []
    assert policy(GOOD, GOOD.lower()) == ["confirmed"]
    assert policy("abc", "") == ["min_characters", "mixed_case", "number_in", "confirmed"]


def test_the_facts_are_those_of_the_sentences() -> None:
    (problem,) = password_problems("aB34567", None)
    assert problem.facts == {"minimum": 8}
    (problem,) = password_problems("aB3" + "x" * 1022, None)
    assert problem.facts == {"maximum": 1024}


# --- keeping them


def test_a_password_matches_its_own_hash_and_no_other(passwords: Passwords) -> None:
    kept = passwords.hash(GOOD)
    assert GOOD not in kept
    assert passwords.matches(GOOD, kept)
    assert not passwords.matches(GOOD + " ", kept)
    assert not passwords.matches(GOOD.lower(), kept)
    assert not passwords.matches("", kept)


def test_the_same_password_is_hashed_differently_each_time(passwords: Passwords) -> None:
    assert passwords.hash(GOOD) != passwords.hash(GOOD)


# RFC 9106, section 4: the second recommended option, and the library's own default.
def test_hashing_is_argon2id_with_the_recommended_cost() -> None:
    parameters = extract_parameters(Passwords().hash(GOOD))
    assert parameters.type is Type.ID
    assert parameters.memory_cost >= 64 * 1024
    assert parameters.time_cost >= 3
    assert parameters.salt_len >= 16


class CountingHasher(PasswordHasher):
    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified: list[str] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # noqa: A002  # the library's name
        self.verified.append(str(hash))
        return super().verify(hash, password)


# An unknown address must take as long as a wrong password, or the clock tells who has an account.
def test_without_an_account_the_same_work_is_done_and_nothing_matches() -> None:
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    assert not passwords.matches(GOOD, None)
    assert not passwords.matches("nobody has this password", None)
    known = passwords.hash(GOOD)
    assert not passwords.matches("wrong", known)
    assert len(hasher.verified) == 3
    assert all(extract_parameters(each) == extract_parameters(known) for each in hasher.verified)


def test_the_longest_password_works(passwords: Passwords) -> None:
    longest = "aB3" + "x" * (MAX_LENGTH - 3)
    assert passwords.matches(longest, passwords.hash(longest))


# Otherwise anybody could have us hash megabytes.
@pytest.mark.parametrize("known", [True, False])
def test_what_is_too_long_for_a_password_is_refused_without_hashing(known: bool) -> None:
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    kept = passwords.hash(GOOD) if known else None
    assert not passwords.matches("x" * (MAX_LENGTH + 1), kept)
    assert hasher.verified == []
