from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from leaky_server import (
    COOKIE,
    MINTED_TOKEN,
    PATH_SIGNATURE,
    QUERY_SIGNATURE,
    leaky_server,
    spellings,
)
from run_kit import trial

from conformance import reports
from conformance.catalogue import requirements
from conformance.exchanges import Exchange
from conformance.images.samples import encode, scene
from conformance.options import Options
from conformance.redaction import Secrets
from conformance.reports.badge import badge
from conformance.reports.junit import junit
from conformance.reports.page import page
from conformance.reports.results import digest, problems, results
from conformance.requirement import PROFILES
from conformance.runner import Run
from conformance.verdicts import Result, Verdict
from independent.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = Options("http://127.0.0.1:8000/api", "17|aTokenThatIsLongEnough")
# What a server may say to whoever puts it into a page.
NASTY = "</pre><script>alert(1)</script>\x00\x1b]0;\N{RIGHT-TO-LEFT OVERRIDE}]]>&amp;"


def run_of(verdicts: dict[str, Verdict], **options: Any) -> Run:
    """A run in which some requirements came to something, and the others of core passed."""
    chosen = replace(OPTIONS, **options)
    wanted = [one for one in requirements() if one.profile in chosen.profiles]
    said = Exchange(
        "GET", "http://127.0.0.1:8000/api/user", {"Accept": "*/*"}, b"", 200,
        {"Server": "one", "Date": "now"}, json.dumps({"said": NASTY}).encode(), 0.01,
    )  # fmt: skip
    found = Run(
        chosen, "uprez-kit-1a2b3c4d", Secrets({"TOKEN": chosen.token}), datetime(2026, 11, 23, tzinfo=UTC)
    )
    found.selected, found.first_exchange, found.seconds = wanted, said, 12.34
    for one in wanted:
        verdict = verdicts.get(one.id, Verdict.PASS)
        bad = verdict is not Verdict.PASS
        found.results.append(
            Result(
                one, verdict, NASTY if bad else "", NASTY if bad else "", "{'a': 1}" if bad else "", (said,) * 40,
                {"sent": encode(scene(), "png")} if bad else {}, 0.5,
            )
        )  # fmt: skip
    return found


def core(level: str = "MUST") -> str:
    """Some requirement of core."""
    return next(one.id for one in requirements() if one.profile == "core" and one.level == level)


def signed_anew(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "sha256": digest(document)}


def test_results_are_of_the_published_form_and_say_what_was_found() -> None:
    document = results(run_of({core(): Verdict.FAIL}))

    assert problems(document) == []
    assert document["verdict"] == "not conformant"
    assert document["counts"]["fail"] == 1
    assert document["server"] == {"base_url": OPTIONS.base_url, "headers": {"Server": "one"}}
    assert document["options"]["token"] is True
    assert document["profiles"]["claimed"] == ["core"]
    assert [row["id"] for row in document["results"]] == [one.id for one in requirements()]
    failed = next(row for row in document["results"] if row["verdict"] == "fail")
    assert (len(failed["exchanges"]), failed["exchanges_left_out"]) == (30, 10)
    assert failed["pictures"]["sent"].startswith("data:image/png;base64,")


def test_the_digest_is_of_what_a_stranger_can_reckon(tmp_path: Path) -> None:
    reports.write(run_of({}), tmp_path)

    told = json.loads((tmp_path / "results.json").read_text())
    assert told.pop("sha256") == digest(told)


def test_what_was_not_asked_says_why() -> None:
    only = run_of({}, only=("IMG-001",))
    only.selected = [one for one in requirements() if one.id == "IMG-001"]
    only.results = [result for result in only.results if result.requirement.id == "IMG-001"]
    stopped = run_of({})
    stopped.stopped, stopped.results = "Interrupted.", []
    of_core = sum(one.profile == "core" for one in requirements())

    assert results(only)["counts"]["not chosen"] == len(requirements()) - 1
    assert results(only)["partial"] is True
    assert results(stopped)["counts"]["not reached"] == of_core
    assert results(run_of({}))["counts"]["not declared"] == len(requirements()) - of_core
    assert problems(results(only)) == problems(results(stopped)) == []


def _claim_more(document: dict[str, Any]) -> None:
    document["verdict"] = "conformant"


def _count_more(document: dict[str, Any]) -> None:
    document["counts"]["pass"] += 1


def _leave_one_out(document: dict[str, Any]) -> None:
    gone = document["results"].pop(0)
    document["counts"][gone["verdict"]] -= 1


def _lower_a_level(document: dict[str, Any]) -> None:
    document["results"][0]["level"] = "SHOULD"


def _of_another_version(document: dict[str, Any]) -> None:
    document["contract"]["version"] = "0.0.9"


def _of_another_text(document: dict[str, Any]) -> None:
    document["contract"]["sha256"] = "0" * 64


def _call_a_part_the_whole(document: dict[str, Any]) -> None:
    document["options"]["only"] = ["IMG-001"]


def _not_choose_what_fails(document: dict[str, Any]) -> None:
    failed = next(row for row in document["results"] if row["verdict"] == "fail")
    failed["verdict"] = "not chosen"
    document["counts"]["fail"] -= 1
    document["counts"]["not chosen"] += 1
    document["verdict"] = "conformant"


def _of_no_form(document: dict[str, Any]) -> None:
    del document["run"]["seconds"]


@pytest.mark.parametrize(
    ("alter", "sentence"),
    [
        (_claim_more, "It says conformant, and its results come to not conformant."),
        (_count_more, "Its counts are not those of its results."),
        (_leave_one_out, "It does not have the requirements of this kit"),
        (_lower_a_level, "It does not have the requirements of this kit"),
        (_of_another_version, "It is about version 0.0.9 of the contract"),
        (_of_another_text, "It is about another text of version"),
        (_call_a_part_the_whole, "Its options are not those of its profiles and its verdict."),
        (_not_choose_what_fails, "It claims profiles of which it leaves out"),
        (_of_no_form, "It is not of the published form: at $.run"),
    ],
)
def test_a_report_that_is_not_sound_is_found_out(
    alter: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    document = results(run_of({core(): Verdict.FAIL}))
    alter(document)

    assert any(
        problem.startswith("It was changed after") for problem in problems(document)
    ) or sentence.startswith("It is not of the published form")
    assert any(problem.startswith(sentence) for problem in problems(signed_anew(document)))


@pytest.mark.parametrize("document", [[], {}, "text", None, {"format": 2}])
def test_what_is_no_report_at_all_is_not_sound(document: object) -> None:
    assert problems(document)


def test_junit_has_a_suite_for_each_family_and_a_case_for_each_requirement() -> None:
    first, second, third = [one.id for one in requirements() if one.profile == "core"][:3] if len(
        [one for one in requirements() if one.profile == "core"]
    ) > 2 else (core(), "", "")  # fmt: skip
    verdicts = {first: Verdict.FAIL, second: Verdict.INCONCLUSIVE, third: Verdict.SKIP}

    root = ET.fromstring(junit(results(run_of(verdicts))))

    names = [case.get("name", "") for case in root.iter("testcase")]
    assert [name.partition(" ")[0] for name in names] == [one.id for one in requirements()]
    failed = next(case for case in root.iter("testcase") if str(case.get("name")).startswith(f"{first} "))
    assert failed.get("classname") == f"uprez-conformance.{first.partition('-')[0]}"
    failure = failed.find("failure")
    assert failure is not None
    assert "The contract (" in str(failure.text)
    assert "Repeat:   curl" in str(failure.text)
    for child, counted in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert len(list(root.iter(child))) == int(root.get(counted, "-1"))
        assert sum(int(suite.get(counted, "-1")) for suite in root) == int(root.get(counted, "-1"))
    assert {suite.get("name") for suite in root} == {one.family for one in requirements()}


@pytest.mark.parametrize(
    ("run", "message", "color"),
    [
        (run_of({}), "conformant (core)", "brightgreen"),
        (run_of({}, read_only=True), "conformant in part", "yellowgreen"),
        (run_of({core(): Verdict.FAIL}), "1 broken", "red"),
        (run_of({core(): Verdict.SKIP}), "inconclusive (core)", "yellow"),
    ],
)
def test_a_badge_says_the_verdict_and_on_what_it_is(run: Run, message: str, color: str) -> None:
    told = badge(results(run))

    assert (told["message"], told["color"], told["schemaVersion"]) == (message, color, 1)


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        told = dict(attrs)
        self.links += [
            told[name] or "" for name in ("src", "href", "srcset", "action", "data") if name in told
        ]
        self.ids += [told["id"] or ""] if "id" in told else []
        if tag not in {"meta", "img", "br", "link", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def seen(text: str) -> Seen:
    parser = Seen()
    parser.feed(text)
    assert parser.open == []
    return parser


@pytest.mark.parametrize(
    "run",
    [
        run_of({}),
        run_of({core(): Verdict.FAIL}),
        run_of({core(): Verdict.INCONCLUSIVE, "IMG-001": Verdict.FAIL}),
    ],
)
def test_the_page_is_one_file_without_scripts_that_shows_every_requirement(run: Run) -> None:
    text = page(results(run))
    found = seen(text)

    assert not {"script", "link", "iframe", "object", "base", "form"} & set(found.tags)
    assert all(link.startswith(("data:", "#")) for link in found.links)
    assert not re.search(r"url\(|@import", text)
    assert "alert(1)</script>" not in text
    assert sorted(found.ids) == sorted(one.id for one in requirements())
    assert {link[1:] for link in found.links if link.startswith("#")} == set(found.ids)


def test_the_page_of_a_run_that_never_began_is_a_page_too() -> None:
    stopped = run_of({})
    stopped.stopped, stopped.results, stopped.first_exchange = "The server refuses the token.", [], None
    text = page(results(stopped))

    seen(text)
    assert "Nothing was checked." in text
    assert "The server refuses the token." in text


def test_a_report_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports.write(run_of({}), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        reports.write(run_of({core(): Verdict.FAIL}), tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_artefact_and_no_line_tells_a_secret(tmp_path: Path) -> None:
    secrets = {
        "token": "17|aB3/dE+fG=hI-jK_lM.nO~pQ",
        "token_b": "18|Zz9&yX<wV>uT'sR",
        "password": 'Corr"ect\\Horse/1&<> $',
    }
    with leaky_server() as server:
        call = subprocess.run(
            [
                *(sys.executable, "-c", "from conformance.cli import main; main()", "run"),
                *("--base-url", server.base_url, "--token", secrets["token"], "--token-b", secrets["token_b"]),
                *("--email", "jane@example.com", "--password", secrets["password"]),
                *("--profile", ",".join(PROFILES), "--fuzz-seconds", "1", "--max-wait", "1", "--timeout", "5"),
                *("--work-timeout", "2", "--report", str(tmp_path)),
            ],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    assert call.returncode == 1, call.stderr
    told = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    told["the console"] = call.stdout + call.stderr
    assert len(told) == 6
    parts = [secret.rpartition("|")[2] for secret in secrets.values()]
    handed_out = (MINTED_TOKEN, MINTED_TOKEN.partition("|")[2], PATH_SIGNATURE, QUERY_SIGNATURE, COOKIE)
    for secret in (*secrets.values(), *parts, *handed_out):
        for spelling in spellings(secret):
            assert [name for name, text in told.items() if spelling in text] == []


def test_no_artefact_tells_what_an_honest_server_handed_out(tmp_path: Path) -> None:
    with Server() as server:
        found = trial(server, only=("AUTH", "AUTHZ", "URL"))
        reports.write(found, tmp_path)

    told = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert {*server.tokens, server.password} < found.secrets.known
    assert len(found.secrets.known) > 20
    for secret in found.secrets.known:
        for spelling in spellings(secret):
            assert [name for name, text in told.items() if spelling in text] == []
