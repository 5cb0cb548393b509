"""Run the requirements that were asked for, one after the other, and come to a verdict on all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING

from conformance.catalogue import requirements
from conformance.client import Unreachable
from conformance.kit import Kit
from conformance.options import UsageError
from conformance.verdicts import Broken, Inconclusive, Result, Skipped, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.catalogue import Requirement
    from conformance.exchanges import Secrets
    from conformance.options import Options


_SHOWN_CHARACTERS = 2000


class Exit(IntEnum):
    CONFORMANT = 0
    NOT_CONFORMANT = 1
    INCONCLUSIVE = 2
    USAGE = 3


@dataclass
class Run:
    """All that is to be reported. ``stopped`` says why it ended early, if it did."""

    options: Options
    tag: str
    secrets: Secrets
    began: datetime
    results: list[Result] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0

    @property
    def exit(self) -> Exit:
        """Broken before all else; conformant only if core was checked, and wholly."""
        if any(
            result.verdict is Verdict.FAIL and result.requirement.level == "MUST" for result in self.results
        ):
            return Exit.NOT_CONFORMANT
        if self.stopped or not any(result.verdict is Verdict.PASS for result in self.results):
            return Exit.INCONCLUSIVE
        if any(_leaves_open(result) for result in self.results):
            return Exit.INCONCLUSIVE
        return Exit.CONFORMANT


def _leaves_open(result: Result) -> bool:
    if result.verdict in {Verdict.INCONCLUSIVE, Verdict.ERROR}:
        return True
    return result.verdict is Verdict.SKIP and result.requirement.profile == "core"


def chosen(options: Options) -> Sequence[Requirement]:
    """Raises UsageError for a name that is none, and when nothing is left to be checked."""
    known = requirements()
    unknown = set(options.only) - {requirement.id for requirement in known}
    if unknown:
        raise UsageError(
            f"There is no requirement {', '.join(sorted(unknown))}; `uprez-conformance list` has them all."
        )
    found = [
        requirement
        for requirement in known
        if (requirement.id in options.only if options.only else requirement.profile in options.profiles)
        and not (options.read_only and requirement.writes)
    ]
    if not found:
        raise UsageError("Nothing of what was chosen can be checked with --read-only.")
    return found


def run(
    options: Options,
    on_result: Callable[[Result], None] = lambda _: None,
    on_begin: Callable[[Requirement], None] = lambda _: None,
) -> Run:
    """Check the server. Ctrl-C ends it early, with the results so far. Raises UsageError."""
    wanted = chosen(options)
    kit = Kit(options)
    found = Run(options, kit.tag, kit.secrets, datetime.now(UTC))
    began = time.monotonic()
    try:
        found.stopped = _door(kit)
        for requirement in wanted if not found.stopped else ():
            on_begin(requirement)
            result = _checked(kit, requirement)
            found.results.append(result)
            on_result(result)
    except KeyboardInterrupt:
        found.stopped = "Interrupted."
    finally:
        try:
            found.left_behind = kit.close()
        except KeyboardInterrupt:
            found.left_behind = [f"Interrupted while tidying up: look for things named {kit.tag}."]
        found.seconds = time.monotonic() - began
    return found


def _door(kit: Kit) -> str:
    """Why no check can say anything about this server; empty if they can."""
    try:
        answer = kit.owner.get("/user")
    except Inconclusive as reason:
        return str(reason)
    if answer.status == 401:  # noqa: PLR2004
        return "The server refuses the token (401 for GET /user). Is --token a valid one of this server?"
    if answer.status == 404:  # noqa: PLR2004
        return (
            "There is no GET /user (404). Does --base-url end where the contract's paths begin, as in "
            "https://host/api?"
        )
    return ""


def _text(value: object) -> str:
    """For people; shortened, because a server may send anything."""
    text = "" if value is None else value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} …"


def _checked(kit: Kit, requirement: Requirement) -> Result:
    first = len(kit.transport.exchanges)
    began = time.monotonic()
    kit.draw_for(requirement.id)

    def result(verdict: Verdict, said: BaseException | str = "") -> Result:
        broken = said if isinstance(said, Broken) else None
        hide = kit.secrets.hide
        return Result(
            requirement,
            verdict,
            hide(str(said)),
            hide(_text(broken.expected)) if broken else "",
            hide(_text(broken.actual)) if broken else "",
            tuple(kit.transport.exchanges[first:]),
            broken.pictures if broken else {},
            time.monotonic() - began,
        )

    try:
        requirement.check(kit)
    except Broken as broken:
        return result(Verdict.FAIL, broken)
    except Skipped as reason:
        return result(Verdict.SKIP, reason)
    except (Inconclusive, Unreachable) as reason:
        return result(Verdict.INCONCLUSIVE, reason)
    except Exception as reason:  # noqa: BLE001  # a fault of the kit's own is a verdict too, and not the server's
        return result(Verdict.ERROR, f"{type(reason).__name__}: {reason}")
    return result(Verdict.PASS)
