"""Code samples of the operations: an OpenAPI Overlay, applied to the contract for the reference pages."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonpath
import yaml

DEFAULT_ADDRESS = "http://127.0.0.1:8000"
"""Start of the URLs in samples and examples: the address of ``uprez serve`` without options."""
_PACKAGE = Path(__file__).parent
_PATHS = (_PACKAGE / "samples.yaml", _PACKAGE.parent / "docs" / "reference" / "samples.yaml")
"""In a wheel, and in a checkout."""


def load_samples() -> dict[str, Any]:
    """Read the Overlay from the wheel or the checkout."""
    path = next(path for path in _PATHS if path.exists())
    overlay: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return overlay


def apply_overlay(document: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the document with the updates of an OpenAPI Overlay 1.0.

    Objects are merged, other values replaced; ``remove`` and arrays are not supported. Raise ValueError for a
    target that matches nothing in the document, such as an operation that was renamed.
    """
    changed = deepcopy(document)
    for action in overlay["actions"]:
        targets = [match.obj for match in jsonpath.finditer(action["target"], changed)]
        if not targets:
            raise ValueError(f"The target {action['target']} matches nothing in the document")
        for target in targets:
            _merge(target, action["update"])
    return changed


def _merge(target: Any, update: dict[str, Any]) -> None:
    """Change the object ``target`` to contain all members of ``update``."""
    for name, value in update.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            _merge(target[name], value)
        else:
            target[name] = deepcopy(value)
