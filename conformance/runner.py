"""Run the selected requirements one after the other and derive the verdict on the server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.catalogue import check_for, requirements
from conformance.client import Unreachable
from conformance.kit import Kit
from conformance.options import UsageError
from conformance.verdicts import CheckFailed, Inconclusive, Result, Skipped, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.client import Response
    from conformance.exchanges import Exchange
    from conformance.options import Options
    from conformance.redaction import Secrets
    from conformance.requirement import Requirement


_MAX_TEXT_LENGTH = 2000
_INTERRUPTED = "Interrupted: the results so far are valid; the remaining requirements were not checked."


class Exit(IntEnum):
    CONFORMANT = 0
    NOT_CONFORMANT = 1
    INCONCLUSIVE = 2
    USAGE = 3

    @property
    def label(self) -> str:
        """Return the verdict as reports and the console show it; "not run" for wrong usage."""
        return ("conformant", "not conformant", "inconclusive", "not run")[self]


@dataclass
class Run:
    """The outcome of a run. ``stopped`` is the reason for an early end, if any."""

    options: Options
    tag: str
    secrets: Secrets
    started: datetime
    selected: Sequence[Requirement] = ()
    first_exchange: Exchange | None = None
    results: list[Result] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0

    @property
    def exit(self) -> Exit:
        """Return the exit code for the results so far; never USAGE."""
        checked = [
            (result.requirement.level, result.requirement.profile, result.verdict) for result in self.results
        ]
        return exit_for(checked, stopped=bool(self.stopped))


def exit_for(checked: Sequence[tuple[str, str, Verdict]], *, stopped: bool) -> Exit:
    """Return the exit code for level, profile and verdict of each requirement; never USAGE.

    A failed MUST decides first; a failed SHOULD does not count. INCONCLUSIVE follows from an early end, from
    no passed requirement, and from any unresolved one.
    """
    if any(verdict is Verdict.FAIL and level == "MUST" for level, _, verdict in checked):
        return Exit.NOT_CONFORMANT
    if stopped or not any(verdict is Verdict.PASS for _, _, verdict in checked):
        return Exit.INCONCLUSIVE
    if any(is_unresolved(profile, verdict) for _, profile, verdict in checked):
        return Exit.INCONCLUSIVE
    return Exit.CONFORMANT


def is_unresolved(profile: str, verdict: Verdict) -> bool:
    """Return whether this verdict prevents the verdict that the server is conformant.

    True for INCONCLUSIVE and ERROR, and for SKIP in the profile core; failures count separately.
    """
    if verdict in {Verdict.INCONCLUSIVE, Verdict.ERROR}:
        return True
    return verdict is Verdict.SKIP and profile == "core"


def select_requirements(options: Options) -> Sequence[Requirement]:
    """Return the requirements to check, in run order.

    ``only`` selects by id or family and overrides the profiles; ``read_only`` removes those that write. Raise
    UsageError for an unknown name in ``only`` and for an empty selection.
    """
    known = requirements()
    names = {name for requirement in known for name in (requirement.id, requirement.family)}
    unknown = set(options.only) - names
    if unknown:
        raise UsageError(
            f"Unknown requirement: {', '.join(sorted(unknown))}. `uprez-conformance list` shows all of them."
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
        raise UsageError(f"No requirement has the profile {', '.join(options.profiles)}.")
    if not found:
        raise UsageError("All selected requirements change data on the server. Leave out --read-only.")
    return found


def run(
    options: Options,
    on_result: Callable[[Result], None] = lambda _: None,
    on_begin: Callable[[Requirement], None] = lambda _: None,
) -> Run:
    """Check the server, delete the images and batches of the run, and return the outcome.

    Created accounts remain; ``left_behind`` names what could not be deleted. Call ``on_begin`` before and ``on_result``
    after each check. The run ends early, with ``stopped`` set, after KeyboardInterrupt, a failed preflight, or a server
    that no longer responds. Raise UsageError for a wrong selection, and OSError if ``ca_file`` is not readable.
    """
    selected = select_requirements(options)
    kit = Kit(options)
    outcome = Run(options, kit.tag, kit.secrets, datetime.now(UTC), selected)
    started = time.monotonic()
    try:
        outcome.stopped = preflight(kit, selected)
        outcome.first_exchange = next(iter(kit.transport.exchanges), None)
        for requirement in selected:
            if outcome.stopped:
                break
            on_begin(requirement)
            result = _check(kit, requirement)
            outcome.results.append(result)
            on_result(result)
            if result.exchanges and result.exchanges[-1].status is None:
                outcome.stopped = _check_alive(kit)
    except KeyboardInterrupt:
        outcome.stopped = _INTERRUPTED
    finally:
        try:
            outcome.left_behind = kit.close()
        except KeyboardInterrupt:
            outcome.left_behind = [
                f"Interrupted during clean-up: images and batches named {kit.tag} may remain."
            ]
        outcome.seconds = time.monotonic() - started
    return outcome


def preflight(kit: Kit, selected: Sequence[Requirement]) -> str:
    """Return the reason why this server cannot be checked; an empty string if it can.

    Send GET /user, and GET /images if a selected requirement is outside the profile accounts. After a 401, an
    unknown route is requested too, for a more exact message. No response, or too long a pause, is also a
    reason.
    """
    try:
        response = kit.owner.get("/user")
        if (
            response.status == HTTPStatus.UNAUTHORIZED
            and kit.owner.get(f"/{kit.tag}").status == HTTPStatus.UNAUTHORIZED
        ):
            return (
                "The server rejects the token (401 for GET /user) and also returns 401 for an unknown route. Is --token "
                "a valid token of this server? Does a proxy in front of the API require a login?"
            )
        problem = _check_address(response)
        if not problem and any(requirement.profile != "accounts" for requirement in selected):
            problem = _check_access(kit.owner.get("/images", params={"per_page": 1}))
    except Inconclusive as reason:
        return str(reason)
    return problem


def _check_address(response: Response) -> str:
    """Return why a response to ``GET /user`` shows a wrong address or token; an empty string if it does not."""
    question = "Does --base-url end where the contract's paths begin, as in https://host/api?"
    if response.status == HTTPStatus.UNAUTHORIZED:
        return "The server rejects the token (401 for GET /user). Is --token a valid token of this server?"
    if response.raw.is_redirect:
        return (
            f"GET /user returned {response.status} with a redirect to {response.headers['location']}. Set --base-url to "
            "the address there."
        )
    if response.media_type == "text/html":
        return (
            f"GET /user returned {response.status} with an HTML page: no API is at this address. {question}"
        )
    if response.status == HTTPStatus.NOT_FOUND:
        return f"GET /user returned 404. {question}"
    return ""


def _check_access(response: Response) -> str:
    """Return why a response to ``GET /images`` shows an account without access; an empty string if it does
    not.
    """
    if response.status != HTTPStatus.FORBIDDEN:
        return ""
    return (
        "The account has no access to the API (403 for GET /images). Use a token with all abilities, of an account whose "
        "email address is verified and whose subscription has API access."
    )


def _check_alive(kit: Kit) -> str:
    """Return a message if GET /user gets no response at all; an empty string otherwise.

    A 429 or 503 counts as a response, and so does an error.
    """
    try:
        kit.owner.get("/user")
    except Unreachable as reason:
        return f"The server no longer responds: {reason}"
    except Inconclusive:
        return ""
    return ""


def _text(value: object, hide: Callable[[str], str]) -> str:
    """Return the value as text without secrets: "" for None, text unchanged, otherwise its ``repr``.

    Cut it after 2000 characters. ``hide`` runs before, because half a secret would not be found.
    """
    text = hide("" if value is None else value if isinstance(value, str) else repr(value))
    return text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]} …"


def _check(kit: Kit, requirement: Requirement) -> Result:
    """Run the check of a requirement and return its result; any Exception becomes a verdict.

    CheckFailed is FAIL, Skipped SKIP, Inconclusive INCONCLUSIVE and any other ERROR. Reseed ``kit.random``
    before. The result has the exchanges of the check and those of the cached values it used, and texts
    without secrets.
    """
    first = len(kit.transport.exchanges)
    kit.once.recalled.clear()
    started = time.monotonic()
    kit.reseed(requirement.id)

    def result(verdict: Verdict, reason: BaseException | str = "") -> Result:
        """Return the result so far; only a CheckFailed has expected and actual values and images."""
        failure = reason if isinstance(reason, CheckFailed) else None
        hide = kit.secrets.hide
        return Result(
            requirement,
            verdict,
            _text(str(reason), hide),
            _text(failure.expected, hide) if failure else "",
            _text(failure.actual, hide) if failure else "",
            (*kit.once.recalled, *kit.transport.exchanges[first:]),
            failure.images if failure else {},
            time.monotonic() - started,
        )

    try:
        check_for(requirement)(kit)
    except CheckFailed as failure:
        return result(Verdict.FAIL, failure)
    except Skipped as reason:
        return result(Verdict.SKIP, reason)
    except Inconclusive as reason:
        return result(Verdict.INCONCLUSIVE, reason)
    except Exception as reason:  # noqa: BLE001  # a fault of the kit is a verdict too, and not the server's
        return result(Verdict.ERROR, f"{type(reason).__name__}: {reason}")
    return result(Verdict.PASS)
