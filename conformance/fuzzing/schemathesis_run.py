"""Schemathesis against the server, once in a run: generated requests, and what was found wrong with the answers."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from conformance.envelope import may_be_extension
from conformance.exchanges import Exchange
from conformance.fuzzing import hypothesis_cache
from conformance.fuzzing.contract_subset import contract_for
from conformance.images.samples import make_sample
from conformance.verdicts import CheckFailed, Inconclusive, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.kit import Kit

_EXAMPLES = 10  # made up by chance for each operation, in a round
_STORIES = 20  # along the links of the contract, in a round
_UPLOADS = 24  # images that generated requests may cost
_NO_ANSWER = frozenset(
    {"ChunkedEncodingError", "ConnectionError", "ConnectTimeout", "ReadTimeout", "ServerUnavailable"}
)
_SHORTEST_ROUND_SECONDS = 5  # starting takes some of it
_GRACE_SECONDS = 30.0  # that the first round may take longer, and the last answer
_ANSWERED = frozenset({0, 1, None})  # nothing found, something found, ended early

# From a checkout the hooks are found where this runs from; what is installed is found anyway.
_START = """
import runpy, sys
root = sys.argv.pop(1)
if root not in sys.path:
    sys.path.insert(0, root)
runpy.run_module("schemathesis.cli", run_name="__main__")
"""
_CONFIG = """
continue-on-failure = true
warnings = false
color = false
request-timeout = {timeout}
{tls}
{auth}
[cache]
enabled = false
[generation]
database = "none"
# NUL in JSON text is documented to be malformed: no database would take it.
allow-x00 = false
[phases.coverage]
# Those that no server is likely to know as an addition of its own, with who knows what effect.
unexpected-methods = ["put", "patch"]
[phases.stateful]
generation.max-examples = {stories}
generation.mode = "positive"
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "429", "503"]
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "413", "415", "422", "429", "503"]
# An image that is not finished has nothing to download yet.
[[operations]]
include-path = "/images/{{id}}/download"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "429", "503"]
# Rules that no schema can say: a derived size is over a cap, a file is no picture.
[[operations]]
include-path = ["/images/upscale", "/batches"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "422", "429", "503"]
# A registration that is accepted could never be undone, and a login nobody guesses.
[[operations]]
include-path = ["/auth/register", "/auth/login"]
generation.mode = "negative"
phases.examples.enabled = false
"""


def _succeeded(_operation: str, status: int) -> bool:
    return status < HTTPStatus.MULTIPLE_CHOICES


@dataclass(frozen=True)
class Finding:
    """What one check of Schemathesis's holds against one answer."""

    check: str
    operation: str  # as in ``GET /images``
    sentence: str
    exchange: Exchange


@dataclass
class Generated:
    """All that came of the generated requests. ``answered`` counts by operation (``GET /images``) and status."""

    findings: list[Finding] = field(default_factory=list)
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    cost: int = 0  # images of the account's quota
    problem: str = ""

    @property
    def requests(self) -> int:
        return self.answered.total()


def expect_no_findings(kit: Kit, *checks: str, evidence: Callable[[str, int], bool] = _succeeded) -> None:
    """Raises Broken with the first of what these checks found.

    Without an answer that is ``evidence``, by its operation and status, nothing was asked: raises Inconclusive.
    """
    generated = generated_requests(kit)
    found = [finding for finding in generated.findings if finding.check in checks]
    if found:
        first = found[0]
        with suppress(ValueError):
            kit.secrets.learn(json.loads(first.exchange.body))
        kit.transport.exchanges.append(first.exchange)
        places = ", ".join(sorted({finding.operation for finding in found}))
        raise CheckFailed(
            f"{first.operation}: {first.sentence}",
            expected="an answer as the contract describes it",
            actual=f"{len(found)} of {generated.requests} generated requests, in {places}",
        )
    if generated.problem:
        raise Inconclusive(generated.problem)
    if generated.unanswered:
        places = ", ".join(sorted(set(generated.unanswered)))
        raise Inconclusive(
            f"Generated requests were not answered at all: {places}. Is the server still running?"
        )
    if not any(evidence(*answer) for answer in generated.answered):
        raise Inconclusive(
            f"{generated.requests} generated requests came to nothing that this could be seen by. Is the account's "
            "quota or its hourly limit used up? Otherwise give them longer with --fuzz-seconds."
        )


def sends_anonymous_requests(kit: Kit) -> bool:
    """Whether requests without a token are sent as well, which are scarce."""
    return "security" in kit.options.profiles or "GEN-010" in kit.options.only


def generated_requests(kit: Kit) -> Generated:
    """The same for the whole of a run. Raises Skipped where generated requests are switched off."""
    if kit.options.fuzz_seconds <= 0:
        raise Skipped("Generated requests are switched off: --fuzz-seconds 0.")
    return kit.once("generated requests", lambda: _run(kit))


def _run(kit: Kit) -> Generated:
    """One whole round, the same with the same seed, and then rounds of chance alone until the time is up."""
    began = time.monotonic()
    generated = Generated()
    secure = sends_anonymous_requests(kit)
    profiles = {*kit.options.profiles} | ({"security"} if secure else set())
    with tempfile.TemporaryDirectory(prefix="uprez-kit-") as name:
        folder = Path(name)
        (folder / "contract.json").write_text(json.dumps(contract_for(profiles)))
        authorities = kit.transport.authorities
        tls = f"tls-verify = {json.dumps(authorities)}" if authorities else ""
        auth = '[auth.openapi]\nbearerToken = { bearer = "${UPREZ_KIT_TOKEN}" }' if secure else ""
        (folder / "config.toml").write_text(
            _CONFIG.format(timeout=kit.options.timeout, tls=tls, auth=auth, stories=_STORIES)
        )
        facts: dict[str, Any] = {
            "made": str(folder / "made"),
            "tag": kit.tag,
            "uploads": _UPLOADS,
            "anonymous": secure,
            "image_id": _an_image(kit),
            "batch_id": _a_batch(kit) if "batches" in profiles else None,
        }
        _round(kit, generated, folder, facts, [])
        left = round(kit.options.fuzz_seconds - (time.monotonic() - began))
        if left >= _SHORTEST_ROUND_SECONDS and not generated.problem:
            facts["uploads"] -= generated.cost
            _round(kit, generated, folder, facts, ["--phases", "fuzzing,stateful", "--max-time", str(left)])
    return generated


def _round(kit: Kit, generated: Generated, folder: Path, facts: dict[str, Any], arguments: list[str]) -> None:
    made, events = Path(facts["made"]), folder / "events.ndjson"
    made.write_text("")
    events.write_text("")
    try:
        generated.problem = _schemathesis(kit, folder, facts, arguments)
    finally:
        for line in made.read_text().splitlines():
            where, _, made_id = line.partition(" ")
            kit.cleanup.remember(where, int(made_id))
            generated.cost += 1 if where == "/images" else 2
    _read(generated, events)


def _schemathesis(kit: Kit, folder: Path, facts: dict[str, Any], arguments: list[str]) -> str:
    """Why nothing can be said; empty if all went well."""
    command = [
        sys.executable, "-c", _START, str(Path(__file__).parents[2]), "--config-file", "config.toml", "run",
        "contract.json", "--url", kit.options.base_url.rstrip("/"), "--checks", "all",
        "--exclude-checks", _not_asked(secure=facts["anonymous"]), "--seed", str(kit.options.seed),
        "--max-examples", str(_EXAMPLES), "--no-shrink",
        "--report", "ndjson", "--report-ndjson-path", "events.ndjson", *arguments,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "conformance.fuzzing.schemathesis_hooks",
        "UPREZ_KIT_TOKEN": kit.options.token,  # a command line is for everybody to see
        "UPREZ_KIT_FACTS": json.dumps(facts),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(hypothesis_cache.folder()),
        # As the kit's own requests: straight to the server, and with nobody's password in place of the token.
        "NO_PROXY": "*",
        "NETRC": os.devnull,
    }
    # The kit's own command.
    with (
        (folder / "said").open("w+", encoding="utf-8") as said,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said) as process,  # noqa: S603
    ):
        try:
            code = _ended(process, kit.options.fuzz_seconds + _GRACE_SECONDS)
        finally:
            process.kill()
        said.seek(0)
        return "" if code in _ANSWERED else f"Schemathesis gave up: {said.read()[-500:].strip()}"


def _ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status. It is asked to end when the time is up: what was found until then counts."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    return None


def _not_asked(*, secure: bool) -> str:
    # Whose images are whose is asked by AUTHZ, a slow server is no broken one, and of the hooks' own check of
    # schemas Schemathesis's is a stricter one.
    left_out = (
        "object_level_authorization", "missing_required_header", "allow_header_conformance",
        "response_schema_conformance",
    )  # fmt: skip
    return ",".join(left_out if secure else (*left_out, "ignored_auth"))


def _an_image(kit: Kit) -> int | None:
    with suppress(CheckFailed, Inconclusive):
        return int(kit.images.completed_png().image["id"])
    return None


def _a_batch(kit: Kit) -> int | None:
    with suppress(CheckFailed, Inconclusive):
        return int(kit.batches.create([make_sample("png")])["id"])
    return None


def _read(generated: Generated, events: Path) -> None:
    with events.open(encoding="utf-8") as lines:
        for line in lines:
            event = _parsed(line)
            if "ScenarioFinished" in event:
                _read_scenario(generated, event["ScenarioFinished"].get("recorder", {}))
            elif "NonFatalError" in event:
                _read_error(generated, event["NonFatalError"])


def _read_error(generated: Generated, event: dict[str, Any]) -> None:
    error = event.get("value") or {}
    if error.get("type") in _NO_ANSWER:
        generated.unanswered.append(f"{event.get('label')} ({error['type']})")
    elif error.get("type") == "HookExecutionError":
        generated.problem = f"The kit stumbled over a generated request: {error.get('message')}"


def _parsed(line: str) -> dict[str, Any]:
    """Empty for the line at which it was ended."""
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return event


def _read_scenario(generated: Generated, recorder: dict[str, Any]) -> None:
    cases, interactions = recorder.get("cases", {}), recorder.get("interactions", {})
    for case_id, checks in recorder.get("checks", {}).items():
        interaction = interactions.get(case_id, {})
        if not interaction.get("response") or case_id not in cases:
            continue
        case = cases[case_id]["value"]
        operation = f"{case['method']} {case['path']}"
        generated.answered[operation, interaction["response"]["status_code"]] += 1
        for name, failure in _failures(checks):
            if failure and not _is_excused(name, operation, interaction):
                exchange = _exchange(interaction)
                generated.findings.append(Finding(name, operation, failure, exchange))


def _failures(checks: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The name of each check with what it found; empty for nothing."""
    for one in checks:
        failure = (one.get("failure_info") or {}).get("failure") or {}
        title = "" if "Custom check failed" in failure.get("title", "") else f"{failure.get('title', '')}."
        said = " ".join(f"{title} {failure.get('message', '')}".split())
        yield one["name"], said if one.get("status") == "failure" else ""


def _is_excused(check: str, operation: str, interaction: dict[str, Any]) -> bool:
    # As documented, the first DELETE of a batch at work cancels it, and the batch is still there; of one that has
    # ended meanwhile, it is gone.
    if check in {"use_after_free", "ensure_resource_availability"} and "/batches" in operation:
        return True
    asked, status = urlsplit(interaction["request"]["uri"]), interaction["response"]["status_code"]
    # A server may have operations of its own.
    if check == "unsupported_method" and may_be_extension(status):
        return True
    # In a form an empty value counts as not sent; of queries the contract does not say.
    if check == "negative_data_rejection" and any(not value for _, value in parse_qsl(asked.query, True)):
        return True
    # What stands in front of a server may not let odd paths through, and says so in its own words.
    return "%" in asked.path and status == HTTPStatus.BAD_REQUEST


def _exchange(interaction: dict[str, Any]) -> Exchange:
    request, response = interaction["request"], interaction["response"]
    return Exchange(
        request["method"],
        request["uri"],
        _headers(request.get("headers", {})),
        _content(request.get("body")),
        response["status_code"],
        _headers(response.get("headers", {})),
        _content(response.get("content")),
        float(response.get("elapsed", 0)),
    )


def _headers(headers: dict[str, list[str]]) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in headers.items()}


def _content(value: Any) -> bytes:
    if isinstance(value, dict) and "$base64" in value:
        return base64.b64decode(value["$base64"])
    return value.encode() if isinstance(value, str) else b""
