"""Tests of the Overlay with the code samples."""

from __future__ import annotations

import pytest

from handlers.code_samples import apply_overlay


def test_objects_are_merged_and_the_original_is_kept() -> None:
    document = {"paths": {"/a": {"get": {"summary": "A", "x": {"one": 1}}}}}
    overlay = {"actions": [{"target": "$.paths['/a'].get", "update": {"x": {"two": 2}, "list": [1]}}]}

    changed = apply_overlay(document, overlay)

    assert changed["paths"]["/a"]["get"] == {"summary": "A", "x": {"one": 1, "two": 2}, "list": [1]}
    assert document["paths"]["/a"]["get"] == {"summary": "A", "x": {"one": 1}}


def test_target_without_a_match_is_an_error() -> None:
    overlay = {"actions": [{"target": "$.paths['/b'].get", "update": {}}]}

    with pytest.raises(ValueError, match="matches nothing"):
        apply_overlay({"paths": {}}, overlay)
