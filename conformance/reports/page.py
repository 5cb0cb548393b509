"""``report.html``: one file for people, without scripts and without anything from elsewhere."""

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
    "ENV": "The envelope of every answer",
    "AUTH": "Tokens, login and registration",
    "AUTHZ": "Other people’s things",
    "JOB": "The way of an image",
    "IMG": "The picture itself",
    "SIZE": "Factors and target sizes",
    "PAGE": "Lists and their pages",
    "BATCH": "Batches",
    "LIM": "Quota and limits",
    "DEL": "Deleting",
    "URL": "Download links",
    "TIME": "Times",
    "HDR": "Headers",
    "GEN": "Whatever else may be sent",
}
# How a verdict is drawn where there is room for one letter only; colours alone are not for everybody.
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
    """Of a results document."""
    rows = document["results"]
    for_people = [{**row, "kind": _kind(row), **_told_apart(row)} for row in rows]
    return _template().render(
        document=document,
        rows=for_people,
        families=[
            (name, FAMILIES.get(name, ""), list(of_family))
            for name, of_family in groupby(for_people, key=lambda row: row["id"].partition("-")[0])
        ],
        counts=[(verdict, count) for verdict, count in document["counts"].items() if count],
        summary=_summary(document, for_people),
        marks=MARKS,
        given=[name.replace("_", "-") for name in sorted(SECRET_OPTIONS) if document["options"][name]],
        repeat=lambda requirement_id: _repeat(document, requirement_id),
    )


def _kind(row: dict[str, Any]) -> str:
    """Which of the report's five colours: ok, broken, should (be better), open, out (was not asked)."""
    verdict = Verdict(row["verdict"])
    if verdict is Verdict.PASS:
        return "ok"
    if verdict is Verdict.FAIL:
        return "broken" if row["level"] == "MUST" else "should"
    return "open" if is_unresolved(row["profile"], verdict) else "out"


def _told_apart(row: dict[str, Any]) -> dict[str, Any]:
    """The exchange that shows it, with the upload that it is about, and all others."""
    exchanges = row["exchanges"]
    if not exchanges:
        return {"shown_exchanges": [], "other_exchanges": []}
    told = _blamed(row["sentence"], exchanges)
    uploads = [at for at, exchange in enumerate(exchanges[:told]) if _is_upload(exchange)]
    shown = [*uploads[-1:], told]
    return {
        "shown_exchanges": [exchanges[at] for at in shown],
        "other_exchanges": [exchange for at, exchange in enumerate(exchanges) if at not in shown],
    }


def _blamed(sentence: str, exchanges: list[dict[str, Any]]) -> int:
    """The last one that the sentence names, with its status if it can be; the last one of all if it names none."""
    best, found = 0, len(exchanges) - 1
    for at, exchange in enumerate(exchanges):
        named = f"{exchange['request']['method']} {_path(exchange['request']['url']).partition('?')[0]}"
        if re.search(re.escape(named) + r"(?![\w/])", sentence):
            status = exchange["response"]["status"] if exchange["response"] else None
            fits = 2 if re.search(rf"\b{status}\b", sentence) else 1
            if fits >= best:
                best, found = fits, at
    return found


def _is_upload(exchange: dict[str, Any]) -> bool:
    """Whether a picture was sent and taken."""
    answer = exchange["response"]
    return answer is not None and answer["status"] == HTTPStatus.ACCEPTED and " -F " in exchange["curl"]


def _summary(document: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    kinds = [row["kind"] for row in rows]
    asked = len(rows) - kinds.count("out")
    broken, left_open = kinds.count("broken"), kinds.count("open")
    if not asked:
        return "Nothing was checked."
    parts = [f"{_of(asked, 'requirement')} checked"]
    parts.append(f"{broken} broken" if broken else "none broken")
    if left_open:
        parts.append(f"{left_open} left open")
    if kinds.count("should"):
        parts.append(f"{kinds.count('should')} that should be better")
    sentence = ", ".join(parts) + "."
    if document["partial"]:
        sentence += " Only a part of the kit was chosen: this says nothing about the rest."
    return sentence


def _of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _repeat(document: dict[str, Any], requirement_id: str) -> str:
    """The command that asks for this one alone."""
    told = document["options"]
    words = ["uprez-conformance", "run", "--base-url", shlex.quote(told["base_url"]), "--token", '"$TOKEN"']
    if told["token_b"]:
        words += ["--token-b", '"$TOKEN_B"']
    if told["password"]:
        words += ["--email", '"$EMAIL"', "--password", '"$PASSWORD"']
    return " ".join([*words, "--seed", str(told["seed"]), "--only", requirement_id])


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"prose": _prose, "body": _body, "path": _path, "telling": _telling}
    text = (files("conformance.reports") / "report.html.j2").read_text("utf-8")
    return environment.from_string(text)


def _telling(headers: dict[str, str]) -> dict[str, str]:
    """Of a request, without those that every HTTP library sends."""
    usual = {"user-agent", "accept-encoding", "connection", "content-length"}
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in usual and (name.lower(), value) != ("accept", "*/*")
    }


def _prose(text: str) -> Markup:
    """What stands between backticks as code; the contract's other marks are left away."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text.replace("**", ""))))
    return Markup(marked)  # noqa: S704  # was escaped before it was marked


def _body(text: str) -> str:
    """JSON on several lines where nothing is lost by it, anything else as it is."""
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.dumps(json.loads(text, object_pairs_hook=_once_each), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for an object that names something twice: just that may be what is wrong with it."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _path(url: str) -> str:
    """A URL without its host."""
    return re.sub(r"^\w+://[^/]+", "", url) or "/"
