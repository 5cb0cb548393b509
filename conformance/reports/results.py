"""``results.json``: the results of a run without secrets. All other reports are made from it."""

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
# A check that waits repeats a request many times; the last exchanges are the most useful.
_SHOWN_EXCHANGES = {Verdict.PASS: 6}
_SHOWN_BY_DEFAULT = 30
# Headers of one response and not of the server.
_RESPONSE_HEADERS = frozenset(
    {"age", "cf-ray", "connection", "content-encoding", "content-length", "date", "etag", "expires", "keep-alive"}
    | {"last-modified", "ratelimit", "set-cookie", "transfer-encoding", "x-ratelimit-remaining", "x-request-id"}
)  # fmt: skip
_MAX_SHOWN_PROBLEMS = 5


def results(run: Run) -> dict[str, Any]:
    """Return the document that ``results.schema.json`` describes, with a row for each known requirement.

    Secrets of the run are replaced in all texts. ``sha256`` is the digest of the rest of the document; it shows a
    change by mistake, but does not prove who wrote the document.
    """
    rows = [_row(requirement, run) for requirement in requirements()]
    document: dict[str, Any] = _sanitized(
        {
            "format": FORMAT,
            "kit": {"name": "uprez-conformance", "version": version("uprez")},
            "contract": {"version": contract()["info"]["version"], "sha256": contract_digest()},
            "server": {"base_url": run.options.base_url, "headers": _server_headers(run.first_exchange)},
            "options": run.options.public(),
            "profiles": {
                "selected": list(run.options.profiles),
                "not_declared": [name for name in PROFILES if name not in run.options.profiles],
            },
            "run": {
                "tag": run.tag,
                "started": run.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
                "seconds": round(run.seconds, 1),
                "stopped": run.stopped,
                "left_behind": run.left_behind,
            },
            "verdict": run.exit.label,
            "partial": is_partial(run.options),
            "counts": _counts(rows),
        },
        run.secrets,
    )
    document["results"] = rows
    return {**document, "sha256": digest(document)}


def is_partial(options: Options) -> bool:
    """Return whether the verdict is only about the selected requirements and not about the server.

    It is with ``only``, with ``read_only``, and without the profile core.
    """
    return bool(options.only) or options.read_only or "core" not in options.profiles


def digest(document: dict[str, Any]) -> str:
    """Return the SHA-256 of the document without ``sha256``, as JSON in UTF-8 with sorted names and no white
    space.
    """
    rest = {name: value for name, value in document.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def results_schema() -> dict[str, Any]:
    """Return the JSON Schema of results.json, which the kit ships."""
    text = (files("conformance.reports") / "results.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def problems(document: Any) -> list[str]:
    """Return a message for each fault of a results document of this kit's contract; none if it is valid.

    Faults of the schema, at most five, hide all others.
    """
    shape = [
        f"It does not match the published schema: at {error.json_path}, {error.message[:200]}."
        for error in Draft202012Validator(results_schema()).iter_errors(document)
    ]
    if shape:
        return shape[:_MAX_SHOWN_PROBLEMS]
    return [*_altered(document), *_of_another_contract(document), *_miscounted(document)]


def _altered(document: dict[str, Any]) -> list[str]:
    """Return a message if the digest does not match; otherwise none."""
    if digest(document) != document["sha256"]:
        return ["It was changed after it was written: its digest does not match."]
    return []


def _of_another_contract(document: dict[str, Any]) -> list[str]:
    """Return a message if version, text or requirements are not those of this kit; otherwise none.

    Of the requirements, id, level and profile are compared.
    """
    stated, own = document["contract"], contract()["info"]["version"]
    if stated["version"] != own:
        return [f"It is for version {stated['version']} of the contract, and this kit has {own}."]
    if stated["sha256"] != contract_digest():
        return [f"It is for another text of version {own} of the contract than this kit has."]
    of_catalogue = {one.id: (one.level, one.profile) for one in requirements()}
    of_report = {row["id"]: (row["level"], row["profile"]) for row in document["results"]}
    differ = sorted(
        requirement_id
        for requirement_id in of_catalogue.keys() | of_report.keys()
        if of_catalogue.get(requirement_id) != of_report.get(requirement_id)
    )
    return [f"Its requirements differ from those of this kit: {', '.join(differ[:10])}."] if differ else []


def _miscounted(document: dict[str, Any]) -> list[str]:
    """Return a message for each contradiction within the document; an empty list if there is none.

    Checked are: one result for each id; the counts and the verdict, against the results; selected profiles and
    ``partial``, against the options; requirements of selected profiles that were left out of a complete run; and
    requirements that were not reached although the run was not stopped.
    """
    rows, found = document["results"], []
    if len({row["id"] for row in rows}) < len(rows):
        found.append("It has two results for one requirement.")
    if document["counts"] != _counts(rows):
        found.append("Its counts do not match its results.")
    checked = [(row["level"], row["profile"], Verdict(row["verdict"])) for row in rows]
    concluded = exit_for(checked, stopped=bool(document["run"]["stopped"])).label
    if document["verdict"] != concluded:
        found.append(f"Its verdict is {document['verdict']}, and its results lead to {concluded}.")
    options, selected = document["options"], set(document["profiles"]["selected"])
    partial = bool(options["only"]) or options["read_only"] or "core" not in selected
    if selected != set(options["profiles"]) or document["partial"] != partial:
        found.append("Its options contradict its profiles or its verdict.")
    left_out = [
        row["id"]
        for row in rows
        if row["verdict"] in {Verdict.NOT_DECLARED, Verdict.NOT_CHOSEN} and row["profile"] in selected
    ]
    if left_out and not partial:
        found.append(f"Its run selects profiles but leaves out {', '.join(left_out[:10])}.")
    if not document["run"]["stopped"] and document["counts"].get(Verdict.NOT_REACHED):
        found.append("Requirements were not reached, but no reason is given.")
    return found


def _counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of rows by verdict, with zeros for verdicts that do not occur."""
    counted = Counter(row["verdict"] for row in rows)
    return {verdict.value: counted[verdict.value] for verdict in Verdict}


def _row(requirement: Requirement, run: Run) -> dict[str, Any]:
    """Return the row of a requirement; without a result, its verdict says why it was not checked."""
    result = next((one for one in run.results if one.requirement.id == requirement.id), None)
    texts = {
        "id": requirement.id,
        "title": requirement.title,
        "level": requirement.level,
        "profile": requirement.profile,
        "pointer": requirement.pointer,
        "contract_text": " ".join(requirement.sentence.split()),
        "why": " ".join(requirement.why.split()),
        "how": " ".join(requirement.how.split()),
        "fails": " ".join(requirement.fails.split()),
    }
    if result is None:
        verdict, reason = _not_checked(requirement, run)
        return {**texts, "verdict": verdict.value, "message": run.secrets.sanitize(reason), **_NOTHING}
    return {**texts, **_found(result, run.secrets)}


_NOTHING = {
    "expected": "",
    "actual": "",
    "seconds": 0.0,
    "exchanges": [],
    "exchanges_left_out": 0,
    "images": {},
}


def _found(result: Result, secrets: Secrets) -> dict[str, Any]:
    """Return the part of a row that comes from its result, without secrets in its texts.

    Only the last exchanges are shown: 6 of a pass, 30 of any other verdict. A failure includes uploaded
    files.
    """
    shown = result.exchanges[-_SHOWN_EXCHANGES.get(result.verdict, _SHOWN_BY_DEFAULT) :]
    with_files = result.verdict is Verdict.FAIL
    return {
        "verdict": result.verdict.value,
        "message": secrets.sanitize(result.message),
        "expected": secrets.sanitize(result.expected),
        "actual": secrets.sanitize(result.actual),
        "seconds": round(result.seconds, 3),
        "exchanges": [exchange_row(exchange, secrets, files=with_files) for exchange in shown],
        "exchanges_left_out": len(result.exchanges) - len(shown),
        "images": {
            secrets.sanitize(name): f"data:image/png;base64,{base64.b64encode(content).decode()}"
            for name, content in result.images.items()
        },
    }


def _not_checked(requirement: Requirement, run: Run) -> tuple[Verdict, str]:
    """Return the verdict of a requirement without a result, and why it was not checked.

    The reason of NOT_REACHED is that of the early end.
    """
    if requirement.id in {one.id for one in run.selected}:
        return Verdict.NOT_REACHED, run.stopped
    if run.options.only:
        return Verdict.NOT_CHOSEN, "Left out by --only."
    if requirement.profile in run.options.profiles:
        return Verdict.NOT_CHOSEN, "Left out by --read-only: it changes data on the server."
    return Verdict.NOT_DECLARED, f"The profile {requirement.profile} was not selected (--profile)."


def _server_headers(exchange: Exchange | None) -> dict[str, str]:
    """Return the headers of a response that describe the server; none without an exchange."""
    headers = exchange.headers if exchange else {}
    return {name: value for name, value in headers.items() if name.lower() not in _RESPONSE_HEADERS}


def _sanitized(node: Any, secrets: Secrets) -> Any:
    """Return a copy of a JSON value without secrets in its texts and names."""
    if isinstance(node, dict):
        return {secrets.sanitize(str(name)): _sanitized(value, secrets) for name, value in node.items()}
    if isinstance(node, list):
        return [_sanitized(item, secrets) for item in node]
    return secrets.sanitize(node) if isinstance(node, str) else node
