"""``results.json``: all that a run found, without anything secret. Every other report is made of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from conformance.catalogue import requirements
from conformance.contract import contract, contract_digest
from conformance.reports.exchange import exchange_row
from conformance.requirement import PROFILES
from conformance.runner import exit_for
from conformance.verdicts import Verdict

if TYPE_CHECKING:
    from conformance.exchanges import Exchange
    from conformance.options import Options
    from conformance.redaction import Secrets
    from conformance.requirement import Requirement
    from conformance.runner import Run
    from conformance.verdicts import Result

FORMAT = 1
NOT_ASKED = frozenset({Verdict.NOT_DECLARED, Verdict.NOT_CHOSEN, Verdict.NOT_REACHED})
# A check that waits asks the same many times; the end of it tells the most.
_SHOWN_EXCHANGES = {Verdict.PASS: 6}
_SHOWN_OF_OTHERS = 30
# Of one answer, not of the server.
_PASSING_HEADERS = frozenset(
    {"age", "cf-ray", "connection", "content-encoding", "content-length", "date", "etag", "expires", "keep-alive"}
    | {"last-modified", "ratelimit", "set-cookie", "transfer-encoding", "x-ratelimit-remaining", "x-request-id"}
)  # fmt: skip
_SHOWN_PROBLEMS = 5


def results(run: Run) -> dict[str, Any]:
    """As ``results.schema.json`` describes it."""
    rows = [_row(requirement, run) for requirement in requirements()]
    document: dict[str, Any] = _presentable(
        {
            "format": FORMAT,
            "kit": {"name": "uprez-conformance", "version": version("uprez")},
            "contract": {"version": contract()["info"]["version"], "sha256": contract_digest()},
            "server": {"base_url": run.options.base_url, "headers": _lasting_headers(run.first_exchange)},
            "options": run.options.public(),
            "profiles": {
                "claimed": list(run.options.profiles),
                "not_declared": [name for name in PROFILES if name not in run.options.profiles],
            },
            "run": {
                "tag": run.tag,
                "began": run.began.isoformat(timespec="seconds").replace("+00:00", "Z"),
                "seconds": round(run.seconds, 1),
                "stopped": run.stopped,
                "left_behind": run.left_behind,
            },
            "verdict": run.exit.words,
            "partial": is_partial(run.options),
            "counts": _counts(rows),
        },
        run.secrets,
    )
    document["results"] = rows
    return {**document, "sha256": digest(document)}


def is_partial(options: Options) -> bool:
    """Whether so little was chosen that the verdict is on that alone, and not on the server."""
    return bool(options.only) or options.read_only or "core" not in options.profiles


def digest(document: dict[str, Any]) -> str:
    """SHA-256 of the document without its own ``sha256``, as JSON with sorted names and no white space, in UTF-8."""
    rest = {name: value for name, value in document.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def results_schema() -> dict[str, Any]:
    text = (files("conformance.reports") / "results.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def problems(document: Any) -> list[str]:
    """What is wrong with a document that says it is a report: a sentence each, none if it is sound."""
    shape = [
        f"It is not of the published form: at {error.json_path}, {error.message[:200]}."
        for error in Draft202012Validator(results_schema()).iter_errors(document)
    ]
    if shape:
        return shape[:_SHOWN_PROBLEMS]
    return [*_altered(document), *_of_another_contract(document), *_miscounted(document)]


def _altered(document: dict[str, Any]) -> list[str]:
    if digest(document) != document["sha256"]:
        return ["It was changed after it was written: its digest is another."]
    return []


def _of_another_contract(document: dict[str, Any]) -> list[str]:
    told, ours = document["contract"], contract()["info"]["version"]
    if told["version"] != ours:
        return [f"It is about version {told['version']} of the contract, and this kit has {ours}."]
    if told["sha256"] != contract_digest():
        return [f"It is about another text of version {ours} of the contract than this kit has."]
    of_catalogue = {one.id: (one.level, one.profile) for one in requirements()}
    of_report = {row["id"]: (row["level"], row["profile"]) for row in document["results"]}
    differ = sorted(
        requirement_id
        for requirement_id in of_catalogue.keys() | of_report.keys()
        if of_catalogue.get(requirement_id) != of_report.get(requirement_id)
    )
    return [f"It does not have the requirements of this kit: {', '.join(differ[:10])}."] if differ else []


def _miscounted(document: dict[str, Any]) -> list[str]:
    """Whether its counts and its verdict are what its results come to."""
    rows, found = document["results"], []
    if len({row["id"] for row in rows}) < len(rows):
        found.append("It has two results for one requirement.")
    if document["counts"] != _counts(rows):
        found.append("Its counts are not those of its results.")
    asked = [(row["level"], row["profile"], Verdict(row["verdict"])) for row in rows]
    concluded = exit_for(asked, stopped=bool(document["run"]["stopped"])).words
    if document["verdict"] != concluded:
        found.append(f"It says {document['verdict']}, and its results come to {concluded}.")
    told, claimed = document["options"], set(document["profiles"]["claimed"])
    partial = bool(told["only"]) or told["read_only"] or "core" not in claimed
    if claimed != set(told["profiles"]) or document["partial"] != partial:
        found.append("Its options are not those of its profiles and its verdict.")
    left_out = [
        row["id"]
        for row in rows
        if row["verdict"] in {Verdict.NOT_DECLARED, Verdict.NOT_CHOSEN} and row["profile"] in claimed
    ]
    if left_out and not partial:
        found.append(f"It claims profiles of which it leaves out {', '.join(left_out[:10])}.")
    if not document["run"]["stopped"] and document["counts"].get(Verdict.NOT_REACHED):
        found.append("It did not come to its end, and does not say why.")
    return found


def _counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    counted = Counter(row["verdict"] for row in rows)
    return {verdict.value: counted[verdict.value] for verdict in Verdict}


def _row(requirement: Requirement, run: Run) -> dict[str, Any]:
    result = next((one for one in run.results if one.requirement.id == requirement.id), None)
    words = {
        "id": requirement.id,
        "title": requirement.title,
        "level": requirement.level,
        "profile": requirement.profile,
        "pointer": requirement.pointer,
        "asks": " ".join(requirement.sentence.split()),
        "why": " ".join(requirement.why.split()),
        "how": " ".join(requirement.how.split()),
        "fails": " ".join(requirement.fails.split()),
    }
    if result is None:
        verdict, reason = _not_asked(requirement, run)
        return {**words, "verdict": verdict.value, "sentence": run.secrets.sanitize(reason), **_NOTHING}
    return {**words, **_found(result, run.secrets)}


_NOTHING = {
    "expected": "",
    "actual": "",
    "seconds": 0.0,
    "exchanges": [],
    "exchanges_left_out": 0,
    "pictures": {},
}


def _found(result: Result, secrets: Secrets) -> dict[str, Any]:
    shown = result.exchanges[-_SHOWN_EXCHANGES.get(result.verdict, _SHOWN_OF_OTHERS) :]
    with_files = result.verdict is Verdict.FAIL
    return {
        "verdict": result.verdict.value,
        "sentence": secrets.sanitize(result.message),
        "expected": secrets.sanitize(result.expected),
        "actual": secrets.sanitize(result.actual),
        "seconds": round(result.seconds, 3),
        "exchanges": [exchange_row(exchange, secrets, files=with_files) for exchange in shown],
        "exchanges_left_out": len(result.exchanges) - len(shown),
        "pictures": {
            secrets.sanitize(name): f"data:image/png;base64,{base64.b64encode(content).decode()}"
            for name, content in result.images.items()
        },
    }


def _not_asked(requirement: Requirement, run: Run) -> tuple[Verdict, str]:
    if requirement.id in {one.id for one in run.selected}:
        return Verdict.NOT_REACHED, run.stopped
    if run.options.only:
        return Verdict.NOT_CHOSEN, "Left out by --only."
    if requirement.profile in run.options.profiles:
        return Verdict.NOT_CHOSEN, "It changes something on the server, and the run was told --read-only."
    return Verdict.NOT_DECLARED, f"The profile {requirement.profile} was not claimed (--profile)."


def _lasting_headers(door: Exchange | None) -> dict[str, str]:
    headers = door.headers if door else {}
    return {name: value for name, value in headers.items() if name.lower() not in _PASSING_HEADERS}


def _presentable(node: Any, secrets: Secrets) -> Any:
    if isinstance(node, dict):
        return {secrets.sanitize(str(name)): _presentable(value, secrets) for name, value in node.items()}
    if isinstance(node, list):
        return [_presentable(item, secrets) for item in node]
    return secrets.sanitize(node) if isinstance(node, str) else node
