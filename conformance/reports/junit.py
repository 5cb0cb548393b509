"""``junit.xml`` for CI systems: a suite for each family, a case for each requirement."""

from __future__ import annotations

from itertools import groupby
from typing import Any
from xml.etree import ElementTree as ET

_CHILDREN = {"fail": "failure", "inconclusive": "error", "kit error": "error"}


def junit(document: dict[str, Any]) -> str:
    """Return the XML for a results document, with a suite for each family.

    A failed SHOULD is a skipped case, as it does not fail a run; so is every requirement that was not
    checked.
    """
    rows = document["results"]
    root = ET.Element("testsuites", {"name": "uprez-conformance", **_counted(rows)})
    for family, of_family in groupby(rows, key=lambda row: row["id"].partition("-")[0]):
        cases = list(of_family)
        suite = ET.SubElement(
            root,
            "testsuite",
            {"name": family, "timestamp": document["run"]["started"].removesuffix("Z"), **_counted(cases)},
        )
        for row in cases:
            suite.append(_case(row))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(row: dict[str, Any]) -> ET.Element:
    """Return the `testcase` of a result; a failure or error has the details as its text."""
    family = row["id"].partition("-")[0]
    case = ET.Element(
        "testcase",
        {
            "name": f"{row['id']} {row['title']}",
            "classname": f"uprez-conformance.{family}",
            "time": f"{row['seconds']:.3f}",
        },
    )
    child = _child(row)
    if child is not None:
        element = ET.SubElement(case, child, {"message": _message(row)})
        if child != "skipped":
            element.set("type", row["verdict"])
            element.text = _details(row)
    return case


def _child(row: dict[str, Any]) -> str | None:
    """Return the element of a verdict: None for pass, failure for a failed MUST, error or skipped.

    Inconclusive and kit error are errors; a failed SHOULD and all others are skipped.
    """
    if row["verdict"] == "pass":
        return None
    if row["verdict"] == "fail" and row["level"] != "MUST":
        return "skipped"
    return _CHILDREN.get(row["verdict"], "skipped")


def _message(row: dict[str, Any]) -> str:
    """Return the verdict, for a failure with its level, and the row's message if it has one."""
    prefix = f"{row['verdict']} ({row['level']})" if row["verdict"] == "fail" else row["verdict"]
    return f"{prefix}: {row['message']}" if row["message"] else prefix


def _details(row: dict[str, Any]) -> str:
    """Return the contract's sentence, expected and actual value, and the curl line of the last exchange."""
    lines = [f"The contract ({row['pointer']}): {row['contract_text']}"]
    if row["expected"] or row["actual"]:
        lines += [f"Expected: {row['expected']}", f"Actual:   {row['actual']}"]
    if row["exchanges"]:
        lines.append(f"Repeat:   {row['exchanges'][-1]['curl']}")
    return "\n".join(lines)


def _counted(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the counts and seconds of a suite, as attributes."""
    children = [_child(row) for row in rows]
    return {
        "tests": str(len(rows)),
        "failures": str(children.count("failure")),
        "errors": str(children.count("error")),
        "skipped": str(children.count("skipped")),
        "time": f"{sum(row['seconds'] for row in rows):.3f}",
    }
