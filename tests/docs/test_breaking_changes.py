"""The contract does not break clients of the last release, whose contract is ``docs/reference/baseline.json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from handlers.transport.contract import load_contract
from project_root import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.docs.conftest import Tool

BASELINE = ROOT / "docs" / "reference" / "baseline.json"


def breaks_clients(tool: Tool, document: dict[str, Any], folder: Path) -> bool:
    """Return whether openapi-diff finds a breaking change. It compares paths and bodies, not parameters."""
    changed = folder / "openapi.json"
    changed.write_text(json.dumps(document))
    done = tool("openapi-diff/bin/openapi-diff", str(BASELINE), str(changed))
    # Node.js also exits with 1 for a missing tool: the report shows that the comparison took place.
    expected = "Breaking changes found" if done.returncode else "hanges found"
    assert expected in done.stdout, done.stdout + done.stderr
    return done.returncode == 1


def test_contract_does_not_break_clients(tool: Tool, tmp_path: Path) -> None:
    assert not breaks_clients(tool, load_contract().document, tmp_path)


def remove_path(document: dict[str, Any]) -> None:
    del document["paths"]["/usage"]


def remove_field(document: dict[str, Any]) -> None:
    plan = document["components"]["schemas"]["PricingPlan"]
    plan["required"].remove("slug")
    del plan["properties"]["slug"]


def require_field(document: dict[str, Any]) -> None:
    login = document["components"]["schemas"]["Login"]
    login["required"].append("code")
    login["properties"]["code"] = {"type": "string"}


def add_optional_fields(document: dict[str, Any]) -> None:
    for name in ("Login", "PricingPlan"):
        document["components"]["schemas"][name]["properties"]["code"] = {"type": "string"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "breaks"),
    [(remove_path, True), (remove_field, True), (require_field, True), (add_optional_fields, False)],
)
def test_breaking_changes_are_found(
    tool: Tool, tmp_path: Path, change: Callable[[dict[str, Any]], None], breaks: bool
) -> None:
    document = load_contract().document
    change(document)

    assert breaks_clients(tool, document, tmp_path) is breaks
