"""One run of Schemathesis against the server: generated requests and the findings in their responses."""

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

_EXAMPLES = 10  # random requests for each operation in a round
_SEQUENCES = 20  # sequences along the links of the contract in a round
_UPLOADS = 24  # images of the quota that generated requests may use
_NO_RESPONSE = frozenset(
    {"ChunkedEncodingError", "ConnectionError", "ConnectTimeout", "ReadTimeout", "ServerUnavailable"}
)
_SHORTEST_ROUND_SECONDS = 5  # with the start of the process
_GRACE_SECONDS = 30.0  # extra time for the first round and the last response
_VALID_EXIT_CODES = frozenset({0, 1, None})  # no findings, findings, ended early

# In a checkout, the hooks are importable only from its root.
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
# The contract defines NUL in JSON text as malformed.
allow-x00 = false
[phases.coverage]
# Methods that a server is unlikely to have as an extension with side effects.
unexpected-methods = ["put", "patch"]
[phases.stateful]
generation.max-examples = {sequences}
generation.mode = "positive"
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "429", "503"]
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "413", "415", "422", "429", "503"]
# An unfinished image has no result yet.
[[operations]]
include-path = "/images/{{id}}/download"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "429", "503"]
# A schema cannot express that a derived size is too large or that a file is not an image.
[[operations]]
include-path = ["/images/upscale", "/batches"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "422", "429", "503"]
# An accepted registration cannot be undone, and a valid login cannot be guessed.
[[operations]]
include-path = ["/auth/register", "/auth/login"]
generation.mode = "negative"
phases.examples.enabled = false
"""


def _succeeded(_operation: str, status: int) -> bool:
    """Return whether the status is below 300."""
    return status < HTTPStatus.MULTIPLE_CHOICES


@dataclass(frozen=True)
class Finding:
    """A failed check of Schemathesis on one response."""

    check: str
    operation: str  # as in ``GET /images``
    message: str
    exchange: Exchange


@dataclass
class Generated:
    """The outcome of the generated requests.

    ``responses`` counts them by operation (``GET /images``) and status.
    """

    findings: list[Finding] = field(default_factory=list)
    responses: Counter[tuple[str, int]] = field(default_factory=Counter)
    without_response: list[str] = field(default_factory=list)
    cost: int = 0  # images of the account's quota
    problem: str = ""

    @property
    def requests(self) -> int:
        return self.responses.total()


def expect_no_findings(kit: Kit, *checks: str, evidence: Callable[[str, int], bool] = _succeeded) -> None:
    """Raise CheckFailed with the first finding of these checks, and append its exchange to the record.

    Raise Inconclusive if the run of Schemathesis failed, a request got no response, or no response is
    ``evidence``, a condition on operation and status (by default below 300). Raise Skipped with
    ``--fuzz-seconds 0``.
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
            f"{first.operation}: {first.message}",
            expected="a response that matches the contract",
            actual=f"{len(found)} of {generated.requests} generated requests, in {places}",
        )
    if generated.problem:
        raise Inconclusive(generated.problem)
    if generated.without_response:
        places = ", ".join(sorted(set(generated.without_response)))
        raise Inconclusive(f"Generated requests got no response: {places}. Is the server still running?")
    if not any(evidence(*response) for response in generated.responses):
        raise Inconclusive(
            f"{generated.requests} generated requests got no response that this requirement needs. Is the account's "
            "quota or its hourly limit used up? If not, raise --fuzz-seconds."
        )


def sends_anonymous_requests(kit: Kit) -> bool:
    """Return whether generated requests without a token are sent, which servers limit.

    They are with the profile security or if GEN-010 is selected by its id.
    """
    return "security" in kit.options.profiles or "GEN-010" in kit.options.only


def generated_requests(kit: Kit) -> Generated:
    """Send the generated requests on the first call, and return their outcome, the same for the whole run.

    Raise Skipped with ``--fuzz-seconds 0``.
    """
    if kit.options.fuzz_seconds <= 0:
        raise Skipped("Generated requests are disabled by --fuzz-seconds 0.")
    return kit.once("generated requests", lambda: _run(kit))


def _run(kit: Kit) -> Generated:
    """Run a complete round, which the seed makes repeatable, and random requests for the remaining time.

    The latter are left out below 5 seconds or after a failure. Create an image and, with its profile, a batch
    before; without them the ids stay unknown. The files of the run are in a temporary folder.
    """
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
            _CONFIG.format(timeout=kit.options.timeout, tls=tls, auth=auth, sequences=_SEQUENCES)
        )
        facts: dict[str, Any] = {
            "made": str(folder / "made"),
            "tag": kit.tag,
            "uploads": _UPLOADS,
            "anonymous": secure,
            "image_id": _existing_image(kit),
            "batch_id": _existing_batch(kit) if "batches" in profiles else None,
        }
        _round(kit, generated, folder, facts, [])
        left = round(kit.options.fuzz_seconds - (time.monotonic() - began))
        if left >= _SHORTEST_ROUND_SECONDS and not generated.problem:
            facts["uploads"] -= generated.cost
            _round(kit, generated, folder, facts, ["--phases", "fuzzing,stateful", "--max-time", str(left)])
    return generated


def _round(kit: Kit, generated: Generated, folder: Path, facts: dict[str, Any], arguments: list[str]) -> None:
    """Run Schemathesis once and add its findings, cost and problem to ``generated``.

    The items that it created are remembered for the clean-up, also if it fails.
    """
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
    """Run Schemathesis and return why its results are invalid; an empty string if they are valid.

    It gets at most ``fuzz_seconds`` and 30 seconds, is then interrupted, and its results so far are valid.
    The process never outlives the call.
    """
    command = [
        sys.executable, "-c", _START, str(Path(__file__).parents[2]), "--config-file", "config.toml", "run",
        "contract.json", "--url", kit.options.base_url.rstrip("/"), "--checks", "all",
        "--exclude-checks", _excluded_checks(secure=facts["anonymous"]), "--seed", str(kit.options.seed),
        "--max-examples", str(_EXAMPLES), "--no-shrink",
        "--report", "ndjson", "--report-ndjson-path", "events.ndjson", *arguments,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "conformance.fuzzing.schemathesis_hooks",
        "UPREZ_KIT_TOKEN": kit.options.token,  # other users can see a command line
        "UPREZ_KIT_FACTS": json.dumps(facts),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(hypothesis_cache.folder()),
        # As for the kit's requests: no proxy, and no password of a .netrc file in place of the token.
        "NO_PROXY": "*",
        "NETRC": os.devnull,
    }
    with (
        (folder / "output").open("w+", encoding="utf-8") as output,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output) as process,  # noqa: S603
    ):
        try:
            code = _wait(process, kit.options.fuzz_seconds + _GRACE_SECONDS)
        finally:
            process.kill()
        output.seek(0)
        return "" if code in _VALID_EXIT_CODES else f"Schemathesis failed: {output.read()[-500:].strip()}"


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit code; interrupt the process after the time and return None.

    Its findings so far are valid. It gets another 30 seconds to end and may still run afterwards.
    """
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    return None


def _excluded_checks(*, secure: bool) -> str:
    """Return the excluded checks of Schemathesis, comma-separated; ``ignored_auth`` unless ``secure``."""
    # AUTHZ checks the ownership of images, and the hooks have a check of schemas that accepts other servers.
    excluded = (
        "object_level_authorization", "missing_required_header", "allow_header_conformance",
        "response_schema_conformance",
    )  # fmt: skip
    return ",".join(excluded if secure else (*excluded, "ignored_auth"))


def _existing_image(kit: Kit) -> int | None:
    """Return the id of a completed image; None if the server does not complete one."""
    with suppress(CheckFailed, Inconclusive):
        return int(kit.images.completed_png().image["id"])
    return None


def _existing_batch(kit: Kit) -> int | None:
    """Create a batch of one image and return its id; None if the server does not accept it."""
    with suppress(CheckFailed, Inconclusive):
        return int(kit.batches.create([make_sample("png")])["id"])
    return None


def _read(generated: Generated, events: Path) -> None:
    """Add the responses, findings and errors of the file of events to ``generated``.

    Skip incomplete lines.
    """
    with events.open(encoding="utf-8") as lines:
        for line in lines:
            event = _parsed(line)
            if "ScenarioFinished" in event:
                _read_scenario(generated, event["ScenarioFinished"].get("recorder", {}))
            elif "NonFatalError" in event:
                _read_error(generated, event["NonFatalError"])


def _read_error(generated: Generated, event: dict[str, Any]) -> None:
    """Add a request without a response, or a fault of the hooks as the problem; ignore other errors."""
    error = event.get("value") or {}
    if error.get("type") in _NO_RESPONSE:
        generated.without_response.append(f"{event.get('label')} ({error['type']})")
    elif error.get("type") == "HookExecutionError":
        generated.problem = f"Internal error of the kit on a generated request: {error.get('message')}"


def _parsed(line: str) -> dict[str, Any]:
    """Return the event of a line; an empty one for a line that the end of the process cut off."""
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return event


def _read_scenario(generated: Generated, recorder: dict[str, Any]) -> None:
    """Count the responses of a scenario and add the failed checks, except allowed ones, to ``generated``."""
    cases, interactions = recorder.get("cases", {}), recorder.get("interactions", {})
    for case_id, checks in recorder.get("checks", {}).items():
        interaction = interactions.get(case_id, {})
        if not interaction.get("response") or case_id not in cases:
            continue
        case = cases[case_id]["value"]
        operation = f"{case['method']} {case['path']}"
        generated.responses[operation, interaction["response"]["status_code"]] += 1
        for name, failure in _failures(checks):
            if failure and not _is_allowed(name, operation, interaction):
                exchange = _exchange(interaction)
                generated.findings.append(Finding(name, operation, failure, exchange))


def _failures(checks: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the name of each check and its finding as one line; an empty string for no finding."""
    for one in checks:
        failure = (one.get("failure_info") or {}).get("failure") or {}
        title = "" if "Custom check failed" in failure.get("title", "") else f"{failure.get('title', '')}."
        message = " ".join(f"{title} {failure.get('message', '')}".split())
        yield one["name"], message if one.get("status") == "failure" else ""


def _is_allowed(check: str, operation: str, interaction: dict[str, Any]) -> bool:
    """Return whether the contract allows what a check of Schemathesis found.

    Allowed are: batches after their DELETE, additional operations of a server, empty query values, and a 400
    for a path with percent-encoding.
    """
    # The first DELETE of a running batch only cancels it; the batch remains. A finished batch is deleted.
    if check in {"use_after_free", "ensure_resource_availability"} and "/batches" in operation:
        return True
    url, status = urlsplit(interaction["request"]["uri"]), interaction["response"]["status_code"]
    # A server may have additional operations.
    if check == "unsupported_method" and may_be_extension(status):
        return True
    # An empty form value counts as missing; the contract does not specify this for queries.
    if check == "negative_data_rejection" and any(not value for _, value in parse_qsl(url.query, True)):
        return True
    # A proxy may reject unusual paths with a body of its own.
    return "%" in url.path and status == HTTPStatus.BAD_REQUEST


def _exchange(interaction: dict[str, Any]) -> Exchange:
    """Return the exchange of an interaction with a response; repeated headers are joined by commas."""
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
    """Return the headers with repeated ones joined by commas."""
    return {name: ", ".join(values) for name, values in headers.items()}


def _content(value: Any) -> bytes:
    """Return the bytes of a body of an event, which is text or `$base64`; empty for anything else."""
    if isinstance(value, dict) and "$base64" in value:
        return base64.b64decode(value["$base64"])
    return value.encode() if isinstance(value, str) else b""
