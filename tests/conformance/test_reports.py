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
from run_kit import check_server

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
    """Return a run with these verdicts, in which all other requirements of core passed."""
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
    """Return the id of a requirement of the core profile."""
    return next(one.id for one in requirements() if one.profile == "core" and one.level == level)


def with_new_digest(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "sha256": digest(document)}


def test_results_match_schema_and_contain_findings() -> None:
    document = results(run_of({core(): Verdict.FAIL}))

    assert problems(document) == []
    assert document["verdict"] == "not conformant"
    assert document["counts"]["fail"] == 1
    assert document["server"] == {"base_url": OPTIONS.base_url, "headers": {"Server": "one"}}
    assert document["options"]["token"] is True
    assert document["profiles"]["selected"] == ["core"]
    assert [row["id"] for row in document["results"]] == [one.id for one in requirements()]
    failed = next(row for row in document["results"] if row["verdict"] == "fail")
    assert (len(failed["exchanges"]), failed["exchanges_left_out"]) == (30, 10)
    assert failed["images"]["sent"].startswith("data:image/png;base64,")


def test_digest_can_be_recomputed_from_the_file(tmp_path: Path) -> None:
    reports.write(run_of({}), tmp_path)

    shown = json.loads((tmp_path / "results.json").read_text())
    assert shown.pop("sha256") == digest(shown)


def test_unchecked_requirements_have_their_own_verdicts() -> None:
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


def _claim_conformant(document: dict[str, Any]) -> None:
    document["verdict"] = "conformant"


def _change_count(document: dict[str, Any]) -> None:
    document["counts"]["pass"] += 1


def _drop_requirement(document: dict[str, Any]) -> None:
    gone = document["results"].pop(0)
    document["counts"][gone["verdict"]] -= 1


def _change_level(document: dict[str, Any]) -> None:
    document["results"][0]["level"] = "SHOULD"


def _change_version(document: dict[str, Any]) -> None:
    document["contract"]["version"] = "0.0.9"


def _change_contract_digest(document: dict[str, Any]) -> None:
    document["contract"]["sha256"] = "0" * 64


def _hide_partial_selection(document: dict[str, Any]) -> None:
    document["options"]["only"] = ["IMG-001"]


def _deselect_failure(document: dict[str, Any]) -> None:
    failed = next(row for row in document["results"] if row["verdict"] == "fail")
    failed["verdict"] = "not chosen"
    document["counts"]["fail"] -= 1
    document["counts"]["not chosen"] += 1
    document["verdict"] = "conformant"


def _drop_required_field(document: dict[str, Any]) -> None:
    del document["run"]["seconds"]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (_claim_conformant, "Its verdict is conformant, and its results lead to not conformant."),
        (_change_count, "Its counts do not match its results."),
        (_drop_requirement, "Its requirements differ from those of this kit"),
        (_change_level, "Its requirements differ from those of this kit"),
        (_change_version, "It is for version 0.0.9 of the contract"),
        (_change_contract_digest, "It is for another text of version"),
        (_hide_partial_selection, "Its options contradict its profiles or its verdict."),
        (_deselect_failure, "Its run selects profiles but leaves out"),
        (_drop_required_field, "It does not match the published schema: at $.run"),
    ],
)
def test_inconsistent_report_is_detected(alter: Callable[[dict[str, Any]], None], message: str) -> None:
    document = results(run_of({core(): Verdict.FAIL}))
    alter(document)

    assert any(
        problem.startswith("It was changed after") for problem in problems(document)
    ) or message.startswith("It does not match the published schema")
    assert any(problem.startswith(message) for problem in problems(with_new_digest(document)))


@pytest.mark.parametrize("document", [[], {}, "text", None, {"format": 2}])
def test_other_json_is_not_a_valid_report(document: object) -> None:
    assert problems(document)


def test_junit_has_suite_per_family_and_case_per_requirement() -> None:
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
        (run_of({core(): Verdict.FAIL}), "1 failed", "red"),
        (run_of({core(): Verdict.SKIP}), "inconclusive (core)", "yellow"),
    ],
)
def test_badge_has_verdict_and_profiles(run: Run, message: str, color: str) -> None:
    shown = badge(results(run))

    assert (shown["message"], shown["color"], shown["schemaVersion"]) == (message, color, 1)


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        shown = dict(attrs)
        self.links += [
            shown[name] or "" for name in ("src", "href", "srcset", "action", "data") if name in shown
        ]
        self.ids += [shown["id"] or ""] if "id" in shown else []
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
def test_page_has_no_scripts_and_every_requirement(run: Run) -> None:
    text = page(results(run))
    found = seen(text)

    assert not {"script", "link", "iframe", "object", "base", "form"} & set(found.tags)
    assert all(link.startswith(("data:", "#")) for link in found.links)
    assert not re.search(r"url\(|@import", text)
    assert "alert(1)</script>" not in text
    assert sorted(found.ids) == sorted(one.id for one in requirements())
    assert {link[1:] for link in found.links if link.startswith("#")} == set(found.ids)


def test_page_of_run_that_did_not_start() -> None:
    stopped = run_of({})
    stopped.stopped, stopped.results, stopped.first_exchange = "The server rejects the token.", [], None
    text = page(results(stopped))

    seen(text)
    assert "Nothing was checked." in text
    assert "The server rejects the token." in text


def test_failed_write_keeps_previous_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports.write(run_of({}), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        reports.write(run_of({core(): Verdict.FAIL}), tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_no_report_and_no_output_contains_a_secret(tmp_path: Path) -> None:
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
    shown = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    shown["the console"] = call.stdout + call.stderr
    assert len(shown) == 6
    parts = [secret.rpartition("|")[2] for secret in secrets.values()]
    handed_out = (MINTED_TOKEN, MINTED_TOKEN.partition("|")[2], PATH_SIGNATURE, QUERY_SIGNATURE, COOKIE)
    for secret in (*secrets.values(), *parts, *handed_out):
        for spelling in spellings(secret):
            assert [name for name, text in shown.items() if spelling in text] == []


def test_no_artefact_tells_what_an_honest_server_handed_out(tmp_path: Path) -> None:
    with Server() as server:
        found = check_server(server, only=("AUTH", "AUTHZ", "URL"))
        reports.write(found, tmp_path)

    shown = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert {*server.tokens, server.password} < found.secrets.known
    assert len(found.secrets.known) > 20
    for secret in found.secrets.known:
        for spelling in spellings(secret):
            assert [name for name, text in shown.items() if spelling in text] == []
