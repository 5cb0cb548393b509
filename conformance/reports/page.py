"""``report.html``: one file for people, without scripts and without anything from elsewhere."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from conformance.options import SECRET_OPTIONS
from conformance.runner import leaves_open
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
    for_people = [{**row, "kind": _kind(row)} for row in rows]
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
    return "open" if leaves_open(row["profile"], verdict) else "out"


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
    environment.filters |= {"prose": _prose, "body": _body, "path": _path}
    text = (files("conformance.reports") / "report.html.j2").read_text("utf-8")
    return environment.from_string(text)


def _prose(text: str) -> Markup:
    """What stands between backticks as code; the contract's other marks are left away."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text.replace("**", ""))))
    return Markup(marked)  # noqa: S704  # was escaped before it was marked


def _body(text: str) -> str:
    """JSON on several lines, anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _path(url: str) -> str:
    """A URL without its host."""
    return re.sub(r"^\w+://[^/]+", "", url) or "/"
