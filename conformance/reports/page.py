"""``report.html``: one page without scripts and external resources."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from conformance.options import SECRET_OPTIONS
from conformance.runner import is_unresolved
from conformance.verdicts import Verdict

if TYPE_CHECKING:
    from jinja2 import Template

FAMILIES = {
    "ENV": "The envelope of every response",
    "AUTH": "Tokens, login and registration",
    "AUTHZ": "Access to other accounts",
    "JOB": "Processing of an image",
    "IMG": "Image content",
    "SIZE": "Factors and target sizes",
    "PAGE": "Lists and pages",
    "BATCH": "Batches",
    "LIM": "Quota and limits",
    "DEL": "Deletion",
    "URL": "Download links",
    "TIME": "Timestamps",
    "HDR": "Headers",
    "GEN": "Generated requests",
}
# The one-character form of a verdict, because not all readers can distinguish colours.
MARKS = {
    "pass": "✓",
    "fail": "✕",
    "skip": "–",
    "inconclusive": "?",
    "kit error": "!",
    "not declared": "·",
    "not chosen": "·",
    "not reached": "·",
}


def page(document: dict[str, Any]) -> str:
    """Return the HTML page for a valid results document; all texts are escaped."""
    rows = document["results"]
    shown_rows = [{**row, "kind": _kind(row), **_split_exchanges(row)} for row in rows]
    return _template().render(
        document=document,
        rows=shown_rows,
        families=[
            (name, FAMILIES.get(name, ""), list(of_family))
            for name, of_family in groupby(shown_rows, key=lambda row: row["id"].partition("-")[0])
        ],
        counts=[(verdict, count) for verdict, count in document["counts"].items() if count],
        summary=_summary(document, shown_rows),
        marks=MARKS,
        given=[name.replace("_", "-") for name in sorted(SECRET_OPTIONS) if document["options"][name]],
        repeat=lambda requirement_id: _repeat(document, requirement_id),
    )


def _kind(row: dict[str, Any]) -> str:
    """Return the CSS class of a row: ok, broken (failed MUST), should (failed SHOULD), open or out.

    Open is a verdict that prevents "conformant"; out is any other, such as skipped or not chosen.
    """
    verdict = Verdict(row["verdict"])
    if verdict is Verdict.PASS:
        return "ok"
    if verdict is Verdict.FAIL:
        return "broken" if row["level"] == "MUST" else "should"
    return "open" if is_unresolved(row["profile"], verdict) else "out"


def _split_exchanges(row: dict[str, Any]) -> dict[str, Any]:
    """Return the exchange that shows the failure with the last upload before it, and all others in order.

    Both lists are empty without exchanges.
    """
    exchanges = row["exchanges"]
    if not exchanges:
        return {"shown_exchanges": [], "other_exchanges": []}
    failing = _failing_exchange(row["message"], exchanges)
    uploads = [at for at, exchange in enumerate(exchanges[:failing]) if _is_upload(exchange)]
    shown = [*uploads[-1:], failing]
    return {
        "shown_exchanges": [exchanges[at] for at in shown],
        "other_exchanges": [exchange for at, exchange in enumerate(exchanges) if at not in shown],
    }


def _failing_exchange(message: str, exchanges: list[dict[str, Any]]) -> int:
    """Return the index of the last exchange that the message names, or of the last one.

    An exchange whose status the message also contains goes before others. ``exchanges`` must not be empty.
    """
    best, found = 0, len(exchanges) - 1
    for at, exchange in enumerate(exchanges):
        named = f"{exchange['request']['method']} {_path(exchange['request']['url']).partition('?')[0]}"
        if re.search(re.escape(named) + r"(?![\w/])", message):
            status = exchange["response"]["status"] if exchange["response"] else None
            fits = 2 if re.search(rf"\b{status}\b", message) else 1
            if fits >= best:
                best, found = fits, at
    return found


def _is_upload(exchange: dict[str, Any]) -> bool:
    """Return whether the exchange is an accepted upload: a 202 to a form."""
    response = exchange["response"]
    return response is not None and response["status"] == HTTPStatus.ACCEPTED and " -F " in exchange["curl"]


def _summary(document: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the counts of checked, failed and unresolved requirements as a sentence.

    It names a partial run.
    """
    kinds = [row["kind"] for row in rows]
    checked = len(rows) - kinds.count("out")
    failed, unresolved = kinds.count("broken"), kinds.count("open")
    if not checked:
        return "Nothing was checked."
    parts = [f"{_of(checked, 'requirement')} checked"]
    parts.append(f"{failed} failed" if failed else "none failed")
    if unresolved:
        parts.append(f"{unresolved} unresolved")
    if kinds.count("should"):
        parts.append(f"{_of(kinds.count('should'), 'recommendation')} failed")
    summary = ", ".join(parts) + "."
    if document["partial"]:
        summary += " Only a part of the requirements was selected; the others are unknown."
    return summary


def _of(count: int, noun: str) -> str:
    """Return count and noun, in the plural unless the count is 1."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _repeat(document: dict[str, Any], requirement_id: str) -> str:
    """Return the command that checks this requirement alone, with the seed of the run.

    Secrets are shell variables; other options, such as timeouts, are left out.
    """
    options = document["options"]
    words = [
        "uprez-conformance",
        "run",
        "--base-url",
        shlex.quote(options["base_url"]),
        "--token",
        '"$TOKEN"',
    ]
    if options["token_b"]:
        words += ["--token-b", '"$TOKEN_B"']
    if options["password"]:
        words += ["--email", '"$EMAIL"', "--password", '"$PASSWORD"']
    return " ".join([*words, "--seed", str(options["seed"]), "--only", requirement_id])


@cache
def _template() -> Template:
    """Return the compiled template; it escapes HTML and raises UndefinedError for an unknown name."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"prose": _prose, "body": _body, "path": _path, "notable": _notable_headers}
    text = (files("conformance.reports") / "report.html.j2").read_text("utf-8")
    return environment.from_string(text)


def _notable_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return the request headers except those that every HTTP library sends."""
    usual = {"user-agent", "accept-encoding", "connection", "content-length"}
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in usual and (name.lower(), value) != ("accept", "*/*")
    }


def _prose(text: str) -> Markup:
    """Return the text as HTML, with text between backticks as code and without bold marks."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text.replace("**", ""))))
    return Markup(marked)  # noqa: S704  # escaped above


def _body(text: str) -> str:
    """Return JSON indented if that loses nothing.

    Return other text, or JSON with duplicate names, unchanged.
    """
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.dumps(json.loads(text, object_pairs_hook=_unique_names), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object. Raise ValueError for a duplicate name, which may be the reported fault."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _path(url: str) -> str:
    """Return a URL without its host."""
    return re.sub(r"^\w+://[^/]+", "", url) or "/"
