"""The verdicts on a requirement, the exceptions that lead to them, and the assertions that checks use."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence, Sized

    from conformance.exchanges import Exchange
    from conformance.requirement import Requirement

T = TypeVar("T")


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105  # not a password
    FAIL = "fail"
    SKIP = "skip"
    INCONCLUSIVE = "inconclusive"
    ERROR = "kit error"
    # Not run: the profile is not claimed, the options leave it out, or the run ended early.
    NOT_DECLARED = "not declared"
    NOT_CHOSEN = "not chosen"
    NOT_REACHED = "not reached"


class CheckFailed(Exception):
    """The server violates the requirement. ``images`` maps titles to PNG files for the report."""

    def __init__(
        self,
        message: str,
        *,
        expected: object = None,
        actual: object = None,
        images: dict[str, bytes] | None = None,
    ) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual
        self.images = images or {}


class Skipped(Exception):
    """The options do not allow the check; the message says what it needs."""


class Inconclusive(Exception):
    """The check could not reach a verdict; the message says what to do."""


@dataclass(frozen=True)
class Result:
    """The verdict on one requirement with its evidence. The texts contain no secrets."""

    requirement: Requirement
    verdict: Verdict
    message: str = ""
    expected: str = ""
    actual: str = ""
    exchanges: Sequence[Exchange] = ()
    images: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0


def expect(holds: object, message: str, *, expected: object = None, actual: object = None) -> None:
    """Raise CheckFailed with ``message``, which says what the server does wrong, unless ``holds`` is true."""
    if not holds:
        raise CheckFailed(message, expected=expected, actual=actual)


def expect_equal(actual: object, expected: object, what: str) -> None:
    """Raise CheckFailed unless the two are equal; ``what`` names the compared value."""
    expect(
        actual == expected,
        f"{what} is {actual!r} and should be {expected!r}.",
        expected=expected,
        actual=actual,
    )


def expect_in(actual: object, allowed: Collection[object], what: str) -> None:
    """Raise CheckFailed unless ``actual``, named by ``what``, is one of the allowed values."""
    expect(
        actual in allowed,
        f"{what} is {actual!r} and should be one of {_listed(allowed)}.",
        expected=_listed(allowed),
        actual=actual,
    )


def expect_contains(actual: Collection[object], wanted: object, what: str) -> None:
    """Raise CheckFailed unless the collection, named by ``what``, contains ``wanted``."""
    expect(wanted in actual, f"{what} lacks {wanted!r}.", expected=wanted, actual=_listed(actual))


def expect_absent(actual: Collection[object], unwanted: object, what: str) -> None:
    """Raise CheckFailed if the collection, named by ``what``, contains ``unwanted``."""
    expect(
        unwanted not in actual,
        f"{what} contains {unwanted!r}.",
        expected=f"without {unwanted!r}",
        actual=_listed(actual),
    )


def expect_empty(found: Sized, message: str, *, expected: object = "none") -> None:
    """Raise CheckFailed with ``message`` if something was found."""
    expect(not found, message, expected=expected, actual=found)


def expect_at_least(actual: float, least: float, what: str) -> None:
    """Raise CheckFailed if ``actual``, named by ``what``, is less than ``least``."""
    expect(
        actual >= least,
        f"{what} is {actual} and should be at least {least}.",
        expected=f"at least {least}",
        actual=actual,
    )


def expect_at_most(actual: float, most: float, what: str) -> None:
    """Raise CheckFailed if ``actual``, named by ``what``, is more than ``most``."""
    expect(
        actual <= most,
        f"{what} is {actual} and should be at most {most}.",
        expected=f"at most {most}",
        actual=actual,
    )


def expect_sorted(items: list[dict[str, Any]], key: Callable[[dict[str, Any]], Any], what: str) -> None:
    """Raise CheckFailed unless the items, named by ``what``, are in descending order of ``key``."""
    ordered = sorted(items, key=key, reverse=True)
    expect(
        items == ordered,
        f"{what} is not in the order of newest first.",
        expected=[item["id"] for item in ordered],
        actual=[item["id"] for item in items],
    )


def expect_count(actual: object, what: str) -> None:
    """Raise CheckFailed unless ``actual``, named by ``what``, is a whole number."""
    expect(type(actual) is int, f"{what} is not a whole number.", expected="a whole number", actual=actual)


def retry(check: Callable[[], T], attempts: int = 3) -> T:
    """Return what ``check`` returns; repeat it after CheckFailed, because other clients may use the account."""
    for _ in range(attempts - 1):
        try:
            return check()
        except CheckFailed:
            continue
    return check()


def _listed(values: Collection[object]) -> str:
    return ", ".join(str(value) for value in values)
