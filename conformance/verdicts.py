"""The verdicts on a requirement, the exceptions that lead to them, and the assertions that checks use."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

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
    # Not run: the profile was not selected, the options exclude it, or the run ended early.
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
    """Raise CheckFailed unless ``actual == expected``; ``what`` names the compared value in the message."""
    if actual != expected:
        _fail(what, actual, expected, repr(expected))


def expect_in(actual: object, allowed: Collection[object], what: str) -> None:
    """Raise CheckFailed unless ``actual``, named by ``what``, is one of the allowed values."""
    if actual not in allowed:
        _fail(what, actual, f"one of {_listed(allowed)}")


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
    """Raise CheckFailed with ``message`` if ``found`` is not empty; it is shown as the actual value."""
    expect(not found, message, expected=expected, actual=found)


def expect_at_least(actual: float, least: float, what: str) -> None:
    """Raise CheckFailed if ``actual``, named by ``what``, is less than ``least``; also for NaN."""
    if not actual >= least:
        _fail(what, actual, f"at least {least}")


def expect_at_most(actual: float, most: float, what: str) -> None:
    """Raise CheckFailed if ``actual``, named by ``what``, is more than ``most``; also for NaN."""
    if not actual <= most:
        _fail(what, actual, f"at most {most}")


def expect_sorted(items: list[dict[str, Any]], key: Callable[[dict[str, Any]], Any], what: str) -> None:
    """Raise CheckFailed unless the items, named by ``what``, are in descending order of ``key``.

    Items of equal keys may have any order. The message shows the ids; what ``key`` raises passes through.
    """
    ordered = sorted(items, key=key, reverse=True)
    expect(
        items == ordered,
        f"{what} is not in the order of newest first.",
        expected=[item["id"] for item in ordered],
        actual=[item["id"] for item in items],
    )


def expect_count(actual: object, what: str) -> None:
    """Raise CheckFailed unless ``actual``, named by ``what``, is an integer; ``True`` and ``1.0`` are not.

    A negative number passes.
    """
    if type(actual) is not int:
        _fail(what, actual, "a whole number")


def retry(check: Callable[[], T], attempts: int = 3) -> T:
    """Return what ``check`` returns.

    Repeat it at once after CheckFailed, because other clients may use the account. Raise the CheckFailed of
    the last of ``attempts`` calls. Any other exception passes through at once.
    """
    for _ in range(attempts - 1):
        try:
            return check()
        except CheckFailed:
            continue
    return check()


def _fail(what: str, actual: object, expected: object, description: str = "") -> NoReturn:
    """Raise CheckFailed; ``description`` replaces ``expected`` in the message only."""
    message = f"{what} is {actual!r} and should be {description or expected}."
    raise CheckFailed(message, expected=expected, actual=actual)


def _listed(values: Collection[object]) -> str:
    """Return the values as text with commas between them."""
    return ", ".join(str(value) for value in values)
