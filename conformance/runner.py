"""Run the requirements that were asked for, one after the other, and come to a verdict on all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING

from conformance.catalogue import check_for, requirements
from conformance.client import Unreachable
from conformance.kit import Kit
from conformance.options import UsageError
from conformance.verdicts import Broken, Inconclusive, Result, Skipped, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.client import Answer
    from conformance.exchanges import Exchange, Secrets
    from conformance.options import Options
    from conformance.requirement import Requirement


_SHOWN_CHARACTERS = 2000
_INTERRUPTED = "Interrupted: what was found until then stands; the rest was not asked."


class Exit(IntEnum):
    CONFORMANT = 0
    NOT_CONFORMANT = 1
    INCONCLUSIVE = 2
    USAGE = 3

    @property
    def words(self) -> str:
        """As reports and the console say it."""
        return ("conformant", "not conformant", "inconclusive", "not run")[self]


@dataclass
class Run:
    """All that is to be reported. ``stopped`` says why it ended early, if it did.

    ``wanted`` are the requirements that were chosen; ``door`` what the server said to the first request.
    """

    options: Options
    tag: str
    secrets: Secrets
    began: datetime
    wanted: Sequence[Requirement] = ()
    door: Exchange | None = None
    results: list[Result] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0

    @property
    def exit(self) -> Exit:
        asked = [
            (result.requirement.level, result.requirement.profile, result.verdict) for result in self.results
        ]
        return conclusion(asked, stopped=bool(self.stopped))


def conclusion(asked: Sequence[tuple[str, str, Verdict]], *, stopped: bool) -> Exit:
    """Of level, profile and verdict. Broken before all else; conformant only if all that was chosen was checked."""
    if any(verdict is Verdict.FAIL and level == "MUST" for level, _, verdict in asked):
        return Exit.NOT_CONFORMANT
    if stopped or not any(verdict is Verdict.PASS for _, _, verdict in asked):
        return Exit.INCONCLUSIVE
    if any(leaves_open(profile, verdict) for _, profile, verdict in asked):
        return Exit.INCONCLUSIVE
    return Exit.CONFORMANT


def leaves_open(profile: str, verdict: Verdict) -> bool:
    """Whether nobody can say, after this, that the server is conformant."""
    if verdict in {Verdict.INCONCLUSIVE, Verdict.ERROR}:
        return True
    return verdict is Verdict.SKIP and profile == "core"


def chosen(options: Options) -> Sequence[Requirement]:
    """Raises UsageError for a name that is none, and when nothing is left to be checked."""
    known = requirements()
    names = {name for requirement in known for name in (requirement.id, requirement.family)}
    unknown = set(options.only) - names
    if unknown:
        raise UsageError(
            f"There is no requirement {', '.join(sorted(unknown))}; `uprez-conformance list` has them all."
        )
    named = [
        requirement
        for requirement in known
        if (
            {requirement.id, requirement.family} & set(options.only)
            if options.only
            else requirement.profile in options.profiles
        )
    ]
    found = [requirement for requirement in named if not (options.read_only and requirement.writes)]
    if not named:
        raise UsageError(f"No requirement is of the profile {', '.join(options.profiles)} yet.")
    if not found:
        raise UsageError("All of what was chosen changes something on the server: not with --read-only.")
    return found


def run(
    options: Options,
    on_result: Callable[[Result], None] = lambda _: None,
    on_begin: Callable[[Requirement], None] = lambda _: None,
) -> Run:
    """Check the server. Ctrl-C ends it early, with the results so far. Raises UsageError."""
    wanted = chosen(options)
    kit = Kit(options)
    found = Run(options, kit.tag, kit.secrets, datetime.now(UTC), wanted)
    began = time.monotonic()
    try:
        found.stopped = _door(kit, wanted)
        found.door = next(iter(kit.transport.exchanges), None)
        for requirement in wanted:
            if found.stopped:
                break
            on_begin(requirement)
            result = _checked(kit, requirement)
            found.results.append(result)
            on_result(result)
            if result.exchanges and result.exchanges[-1].status is None:
                found.stopped = _gone(kit)
    except KeyboardInterrupt:
        found.stopped = _INTERRUPTED
    finally:
        try:
            found.left_behind = kit.close()
        except KeyboardInterrupt:
            found.left_behind = [f"Interrupted while tidying up: look for things named {kit.tag}."]
        found.seconds = time.monotonic() - began
    return found


def _door(kit: Kit, wanted: Sequence[Requirement]) -> str:
    """Why no check can say anything about this server; empty if they can."""
    try:
        answer = kit.owner.get("/user")
        if answer.status == 401 and kit.owner.get(f"/{kit.tag}").status == 401:  # noqa: PLR2004
            return (
                "The server refuses the token (401 for GET /user), and answers 401 to a route that does not exist as "
                "well. Is --token a valid one of this server, and does nothing before the API ask for a login?"
            )
        refused = _refusal(answer)
        if not refused and any(requirement.profile != "accounts" for requirement in wanted):
            refused = _barred(kit.owner.get("/images", params={"per_page": 1}))
    except Inconclusive as reason:
        return str(reason)
    return refused


def _refusal(answer: Answer) -> str:
    """Why an answer to ``GET /user`` shows that this is not the place, or not the token."""
    ends = "Does --base-url end where the contract's paths begin, as in https://host/api?"
    if answer.status == 401:  # noqa: PLR2004
        return "The server refuses the token (401 for GET /user). Is --token a valid one of this server?"
    if answer.response.is_redirect:
        return (
            f"GET /user is answered with {answer.status}, which leads to {answer.headers['location']}. Give --base-url "
            "as it is there."
        )
    if answer.media_type == "text/html":
        return f"GET /user is answered with {answer.status} and a page of HTML: no API is there. {ends}"
    if answer.status == 404:  # noqa: PLR2004
        return f"There is no GET /user (404). {ends}"
    return ""


def _barred(answer: Answer) -> str:
    """Why an answer to ``GET /images`` shows that the account may not do what is to be checked."""
    if answer.status != 403:  # noqa: PLR2004
        return ""
    return (
        "The account may not use the API (403 for GET /images). Give a token with all abilities, of an account whose "
        "e-mail address is verified and whose subscription has API access."
    )


def _gone(kit: Kit) -> str:
    """What to say when the server answers nothing any more; empty if it does."""
    try:
        kit.owner.get("/user")
    except Unreachable as reason:
        return f"The server has gone away: {reason}"
    except Inconclusive:
        return ""
    return ""


def _text(value: object, hide: Callable[[str], str]) -> str:
    """For people; hidden before it is shortened, because half a secret would not be found."""
    text = hide("" if value is None else value if isinstance(value, str) else repr(value))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} …"


def _checked(kit: Kit, requirement: Requirement) -> Result:
    first = len(kit.transport.exchanges)
    kit.recalled.clear()
    began = time.monotonic()
    kit.draw_for(requirement.id)

    def result(verdict: Verdict, said: BaseException | str = "") -> Result:
        broken = said if isinstance(said, Broken) else None
        hide = kit.secrets.hide
        return Result(
            requirement,
            verdict,
            _text(str(said), hide),
            _text(broken.expected, hide) if broken else "",
            _text(broken.actual, hide) if broken else "",
            (*kit.recalled, *kit.transport.exchanges[first:]),
            broken.pictures if broken else {},
            time.monotonic() - began,
        )

    try:
        check_for(requirement)(kit)
    except Broken as broken:
        return result(Verdict.FAIL, broken)
    except Skipped as reason:
        return result(Verdict.SKIP, reason)
    except (Inconclusive, Unreachable) as reason:
        return result(Verdict.INCONCLUSIVE, reason)
    except Exception as reason:  # noqa: BLE001  # a fault of the kit's own is a verdict too, and not the server's
        return result(Verdict.ERROR, f"{type(reason).__name__}: {reason}")
    return result(Verdict.PASS)
