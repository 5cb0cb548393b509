"""``openapi.yaml`` as the server reads it: paths, methods, and what a body may be."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from connexion.frameworks.starlette import starlettify_path
from starlette.routing import compile_path

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

# The C loader is six times as fast; wheels of PyYAML have it, some builds from source do not.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

BASE_PATH = "/api"
METHOD = "uprez_method"
"""Where the scope's extensions have the method that was sent; everything routes HEAD as GET."""
_METHODS = ("get", "post", "put", "patch", "delete")
JSON_PATH, YAML_PATH = "/openapi.json", "/openapi.yaml"
"""Where the contract itself is to be had, below /api. It does not describe that."""
_PACKAGE = Path(__file__).parent.parent
_FILES = (_PACKAGE / "openapi.yaml", _PACKAGE.parent / "openapi.yaml")
"""Within the wheel, and beside the packages in a checkout."""


def operation_id(scope: Mapping[str, Any]) -> str | None:
    """The operation that Connexion routed this request to; None outside the contract."""
    found = scope.get("extensions", {}).get("connexion_routing", {}).get("operation_id")
    # It is the function's whole name there; the contract has the module beside it.
    return None if found is None else str(found).rpartition(".")[2]


@dataclass(frozen=True)
class BodyRules:
    """Of one operation; ``max_bytes`` is 0 where there is no body."""

    media_types: tuple[str, ...]
    max_bytes: int


class Contract:
    def __init__(self, text: str) -> None:
        self.text = text
        self.document: dict[str, Any] = yaml.load(text, Loader=_LOADER)  # noqa: S506  # both are safe

    def allowed_methods(self, path: str) -> list[str]:
        """The methods of the resource at this path (below /api); empty if there is no such resource."""
        if path in {JSON_PATH, YAML_PATH}:
            return ["GET", "HEAD"]
        for pattern, methods in self._paths.get(path.count("/"), ()):
            if pattern.match(path):
                return methods
        return []

    def body_rules(self, operation_id: str) -> BodyRules:
        return self._body_rules[operation_id]

    def is_small(self, operation_id: str) -> bool:
        """Whether it only reads, and neither the request nor any answer has more to it than headers and JSON."""
        return operation_id in self._small_operations

    def is_lookup(self, operation_id: str) -> bool:
        """Whether it asks for one thing by its id, which is found as soon among millions as alone."""
        return operation_id in self._lookups

    def shows_quota(self, operation_id: str) -> bool:
        """Whether the answers of this operation carry the monthly quota."""
        return operation_id in self._quota_operations

    def counts_by_address(self, operation_id: str) -> bool:
        """Whether a request is counted although the operation asks for no token."""
        return operation_id in self._counted_public_operations

    @cached_property
    def _counted_public_operations(self) -> set[str]:
        return {
            operation["operationId"]
            for _, _, operation in self._operations
            if not operation["security"] and not operation.get("x-uprez-uncounted", False)
        }

    @cached_property
    def _small_operations(self) -> set[str]:
        return {
            operation["operationId"]
            for _, method, operation in self._operations
            if method == "get"
            and all(
                set(self._resolve(response).get("content", {})) <= {"application/json"}
                for response in operation["responses"].values()
            )
        }

    @cached_property
    def _lookups(self) -> set[str]:
        return {
            operation["operationId"]
            for path, _, operation in self._operations
            if operation["operationId"] in self._small_operations and "{id}" in path
        }

    @cached_property
    def _operations(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        return [
            (path, method, operation)
            for path, operations in self.document["paths"].items()
            for method, operation in operations.items()
            if method in _METHODS
        ]

    @cached_property
    def _paths(self) -> Mapping[int, list[tuple[re.Pattern[str], list[str]]]]:
        """By the number of slashes: a parameter holds none."""
        paths: dict[str, tuple[re.Pattern[str], list[str]]] = {}
        for path, method, operation in self._operations:
            if path not in paths:
                types = {
                    parameter["name"]: parameter["schema"].get("type")
                    for parameter in self._parameters(path, operation)
                    if parameter["in"] == "path"
                }
                paths[path] = compile_path(starlettify_path(path, types))[0], []
            paths[path][1].extend(["GET", "HEAD"] if method == "get" else [method.upper()])
        by_slashes = defaultdict(list)
        for path, found in paths.items():
            by_slashes[path.count("/")].append(found)
        return by_slashes

    @cached_property
    def _body_rules(self) -> dict[str, BodyRules]:
        rules = {}
        for _, _, operation in self._operations:
            body = operation.get("requestBody")
            rules[operation["operationId"]] = BodyRules(
                media_types=tuple(body["content"]) if body else (),
                max_bytes=body["x-uprez-max-bytes"] if body else 0,
            )
        return rules

    @cached_property
    def _quota_operations(self) -> set[str]:
        return {
            operation["operationId"]
            for _, _, operation in self._operations
            if any(
                "X-RateLimit-Limit" in self._resolve(response).get("headers", {})
                for response in operation["responses"].values()
            )
        }

    def _parameters(self, path: str, operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        shared = self.document["paths"][path].get("parameters", [])
        return [self._resolve(parameter) for parameter in [*shared, *operation.get("parameters", [])]]

    def _resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = node.get("$ref")
        if reference is None:
            return node
        target: Any = self.document
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]
        return self._resolve(target)


def load_contract() -> Contract:
    path = next(path for path in _FILES if path.exists())
    return Contract(path.read_text("utf-8"))
