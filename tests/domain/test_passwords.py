from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from domain.passwords import MAX_LENGTH, Passwords, password_problems

if TYPE_CHECKING:
    from domain.errors import FieldProblem

GOOD = "Correct-Horse-9"


def violated_rules(password: str, confirmation: str | None = None) -> list[str]:
    problems: list[FieldProblem] = list(password_problems(password, confirmation))
    assert {problem.field for problem in problems} <= {"password"}
    return [problem.rule for problem in problems]


@pytest.mark.parametrize(
    ("password", "rules"),
    [
        (GOOD, []),
        ("aB345678", []),
        ("aB34567", ["min_characters"]),
        ("ab345678", ["mixed_case"]),
        ("AB345678", ["mixed_case"]),
        ("aBcdefgh", ["digit"]),
        ("abc", ["min_characters", "mixed_case", "digit"]),
        ("", ["min_characters", "mixed_case", "digit"]),
        ("aB3" + "x" * (MAX_LENGTH - 3), []),
        ("aB3" + "x" * (MAX_LENGTH - 2), ["max_characters"]),
        ("Überlänge 9", []),
        ("ÄÖÜäöüß9", []),
        ("Пароль12", []),
        ("密码密码密码密码9", ["mixed_case"]),  # letters without case
    ],
)
def test_all_violated_rules_are_reported(password: str, rules: list[str]) -> None:
    assert violated_rules(password) == rules


# The length counts characters, not bytes: four emoji are sixteen bytes.
def test_length_is_counted_in_characters() -> None:
    assert violated_rules("aB3🎉🎉🎉🎉") == ["min_characters"]
    assert violated_rules("aB3🎉🎉🎉🎉🎉") == []


def test_different_confirmation_is_reported() -> None:
    assert violated_rules(GOOD, GOOD) == []
    assert violated_rules(GOOD, GOOD.lower()) == ["confirmed"]
    assert violated_rules("abc", "") == ["min_characters", "mixed_case", "digit", "confirmed"]


def test_problem_has_the_facts_of_its_message() -> None:
    (problem,) = password_problems("aB34567", None)
    assert problem.facts == {"minimum": 8}
    (problem,) = password_problems("aB3" + "x" * 1022, None)
    assert problem.facts == {"maximum": 1024}


# --- hashing


def test_password_matches_only_its_own_hash(passwords: Passwords) -> None:
    password_hash = passwords.hash(GOOD)
    assert GOOD not in password_hash
    assert passwords.matches(GOOD, password_hash)
    assert not passwords.matches(GOOD + " ", password_hash)
    assert not passwords.matches(GOOD.lower(), password_hash)
    assert not passwords.matches("", password_hash)


def test_hashes_of_one_password_differ(passwords: Passwords) -> None:
    assert passwords.hash(GOOD) != passwords.hash(GOOD)


# RFC 9106, section 4: the second recommended option, and the library's own default.
def test_hash_is_argon2id_with_recommended_cost() -> None:
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


# An unknown address must take as long as a wrong password: the response time must not reveal an account.
def test_without_a_hash_the_same_work_is_done() -> None:
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    assert not passwords.matches(GOOD, None)
    assert not passwords.matches("the password of no account", None)
    own_hash = passwords.hash(GOOD)
    assert not passwords.matches("wrong", own_hash)
    assert len(hasher.verified) == 3
    assert all(extract_parameters(each) == extract_parameters(own_hash) for each in hasher.verified)


def test_longest_password_is_accepted(passwords: Passwords) -> None:
    longest = "aB3" + "x" * (MAX_LENGTH - 3)
    assert passwords.matches(longest, passwords.hash(longest))


# Otherwise an anonymous client could make the server hash megabytes.
@pytest.mark.parametrize("has_account", [True, False])
def test_too_long_password_is_refused_without_hashing(has_account: bool) -> None:
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    password_hash = passwords.hash(GOOD) if has_account else None
    assert not passwords.matches("x" * (MAX_LENGTH + 1), password_hash)
    assert hasher.verified == []
