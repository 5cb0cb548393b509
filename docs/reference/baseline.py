"""Write baseline.json: the contract of the last release, without texts and examples.

Usage at a release: python docs/reference/baseline.py. The tests compare openapi.yaml with it for breaking changes.
"""  # noqa: INP001

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from handlers.transport.contract import load_contract

BASELINE = Path(__file__).with_name("baseline.json")
METHODS = ("get", "post", "put", "patch", "delete")
_TEXTS = frozenset({"description", "summary", "example", "examples", "links", "tags", "externalDocs"})


def without_texts(node: Any, *, names: bool = False) -> Any:
    """Return a copy of this part of the document without texts, examples and extensions.

    ``names`` is True for an object whose keys are names, such as ``properties``: all of them are kept.
    """
    if isinstance(node, list):
        return [without_texts(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        name: without_texts(value, names=name in {"properties", "headers", "responses", "schemas", "paths"})
        for name, value in node.items()
        if names or not (name in _TEXTS or name.startswith("x-"))
    }


def baseline(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without texts; it is still valid OpenAPI, in which a response has a description."""
    made: dict[str, Any] = without_texts(document)
    made["components"].pop("examples", None)
    operations = [item[method] for item in made["paths"].values() for method in METHODS if method in item]
    for responses in (made["components"]["responses"], *(operation["responses"] for operation in operations)):
        for response in responses.values():
            if "$ref" not in response:
                response["description"] = ""
    return made


if __name__ == "__main__":
    BASELINE.write_text(json.dumps(baseline(load_contract().document), separators=(",", ":")) + "\n", "utf-8")
