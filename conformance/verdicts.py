"""What a check can say, and how it says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.exchanges import Exchange
    from conformance.requirement import Requirement

T = TypeVar("T")


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    SKIP = "skip"
    INCONCLUSIVE = "inconclusive"
    ERROR = "kit error"
    # Of those that were not asked: their profile was not claimed, the caller left them out, the run ended before.
    NOT_DECLARED = "not declared"
    NOT_CHOSEN = "not chosen"
    NOT_REACHED = "not reached"


class Broken(Exception):
    """The server breaks the requirement. ``pictures`` are PNG files by what each shows."""

    def __init__(
        self,
        sentence: str,
        *,
        expected: object = None,
        actual: object = None,
        pictures: dict[str, bytes] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.expected = expected
        self.actual = actual
        self.pictures = pictures or {}


class Skipped(Exception):
    """It cannot be asked with what the caller gave; the message says what would be needed."""


class Inconclusive(Exception):
    """It was asked and not answered; the message says what to do."""


@dataclass(frozen=True)
class Result:
    """The verdict on one requirement, with all that was said about it; nothing secret is in its texts."""

    requirement: Requirement
    verdict: Verdict
    sentence: str = ""
    expected: str = ""
    actual: str = ""
    exchanges: Sequence[Exchange] = ()
    pictures: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0


def expect(
    holds: object,
    sentence: str,
    *,
    expected: object = None,
    actual: object = None,
) -> None:
    """Raises Broken with the sentence, which says what the server does wrong, unless ``holds``."""
    if not holds:
        raise Broken(sentence, expected=expected, actual=actual)


def expect_equal(actual: object, expected: object, what: str) -> None:
    """Raises Broken when they differ; ``what`` names the thing compared."""
    if actual != expected:
        raise Broken(f"{what} is {actual!r} and should be {expected!r}.", expected=expected, actual=actual)


def undisturbed(look: Callable[[], T], times: int = 3) -> T:
    """What ``look`` gives. It looks again when it raises Broken: somebody else may use the account meanwhile."""
    for _ in range(times - 1):
        try:
            return look()
        except Broken:
            continue
    return look()
