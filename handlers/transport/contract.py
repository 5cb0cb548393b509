"""The server's view of ``openapi.yaml``: paths, methods, and rules for bodies."""

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
    from collections.abc import Mapping, Sequence

# The C loader is six times as fast; wheels of PyYAML have it, some builds from source do not.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

BASE_PATH = "/api"
EXACT = "x-uprez-exact"
"""Key in a schema: the rules that only Uprez follows."""
METHOD = "uprez_method"
"""Key in the scope's extensions: the method that the client sent. All layers route HEAD as GET."""
_METHODS = ("get", "post", "put", "patch", "delete")
JSON_PATH, JSON_31_PATH, YAML_PATH = "/openapi.json", "/openapi-3.1.json", "/openapi.yaml"
"""Paths of the contract itself, below /api. The contract does not describe them."""
_PACKAGE = Path(__file__).parent.parent
_PATHS = (_PACKAGE / "openapi.yaml", _PACKAGE.parent / "openapi.yaml")
"""In a wheel, and next to the packages in a checkout."""


def operation_id(scope: Mapping[str, Any]) -> str | None:
    """Return the operation that Connexion routed this request to; None outside the contract.

    Routing writes it into the ``extensions`` dict that ``Edge`` creates, so a layer outside of routing sees it once the
    response starts.
    """
    found = scope.get("extensions", {}).get("connexion_routing", {}).get("operation_id")
    # Connexion has the qualified name of the function; the contract has the module in a separate key.
    return None if found is None else str(found).rpartition(".")[2]


@dataclass(frozen=True)
class BodyRules:
    """Body of one operation. ``max_bytes`` is 0 if the operation has none."""

    media_types: tuple[str, ...]
    max_bytes: int


class Contract:
    """The parsed contract, with indexes that the middleware looks up for each request.

    ``exact`` is the document with the stricter rules of Uprez, see ``exact_document``.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.document: dict[str, Any] = yaml.load(text, Loader=_LOADER)  # noqa: S506  # both are safe
        self.exact: dict[str, Any] = exact_document(self.document)

    def allowed_methods(self, path: str) -> list[str]:
        """Return the methods of the resource at this path (below /api); empty if there is no such resource."""
        if path in {JSON_PATH, JSON_31_PATH, YAML_PATH}:
            return ["GET", "HEAD"]
        for pattern, methods in self._paths.get(path.count("/"), ()):
            if pattern.match(path):
                return methods
        return []

    def body_rules(self, operation_id: str) -> BodyRules:
        """Return the body rules of an operation."""
        return self._body_rules[operation_id]

    def is_small_read(self, operation_id: str) -> bool:
        """Return whether the operation only reads, and every response has nothing but headers and JSON."""
        return operation_id in self._small_reads

    def is_lookup(self, operation_id: str) -> bool:
        """Return whether the operation reads a bounded number of rows by an id.

        It takes the same time in a table of any size.
        """
        return operation_id in self._lookups

    def has_quota_headers(self, operation_id: str) -> bool:
        """Return whether responses of this operation have the headers of the monthly quota."""
        return operation_id in self._quota_operations

    def is_counted_public(self, operation_id: str) -> bool:
        """Return whether requests are counted although the operation needs no authentication."""
        return operation_id in self._counted_public_operations

    def required_scopes(self, operation_id: str) -> Sequence[str]:
        """Return the scopes that a token and its account need for this operation, in the order of the checks.

        These are its ``x-uprez-requires``; empty if any valid token may call it, or none is needed.
        """
        return self._required_scopes[operation_id]

    @cached_property
    def _required_scopes(self) -> dict[str, tuple[str, ...]]:
        """Return the required scopes of each operation by its id."""
        return {
            operation["operationId"]: tuple(operation.get("x-uprez-requires", ()))
            for _, _, operation in self._operations
        }

    @cached_property
    def _counted_public_operations(self) -> set[str]:
        """Return the ids of operations that need no token, except those with ``x-uprez-uncounted``."""
        return {
            operation["operationId"]
            for _, _, operation in self._operations
            # An operation without this key has the requirement of the document.
            if operation.get("security") == [] and not operation.get("x-uprez-uncounted", False)
        }

    @cached_property
    def _small_reads(self) -> set[str]:
        """Return the ids of GET operations whose responses all are JSON or have no body."""
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
        """Return the ids of small reads with an ``{id}`` in their path."""
        return {
            operation["operationId"]
            for path, _, operation in self._operations
            if operation["operationId"] in self._small_reads and "{id}" in path
        }

    @cached_property
    def _operations(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        """Return path, method in lower case and operation object of each operation."""
        return [
            (path, method, operation)
            for path, operations in self.document["paths"].items()
            for method, operation in operations.items()
            if method in _METHODS
        ]

    @cached_property
    def _paths(self) -> Mapping[int, list[tuple[re.Pattern[str], list[str]]]]:
        """Patterns and methods by the number of slashes; a parameter contains none."""
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
        """Return the rules by operation id; without a body, no media type and 0 bytes."""
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
        """Return the ids of operations with ``X-RateLimit-Limit`` in one of their responses."""
        return {
            operation["operationId"]
            for _, _, operation in self._operations
            if any(
                "X-RateLimit-Limit" in self._resolve(response).get("headers", {})
                for response in operation["responses"].values()
            )
        }

    def _parameters(self, path: str, operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the parameters of the path and of the operation, with references resolved."""
        shared = self.document["paths"][path].get("parameters", [])
        return [self._resolve(parameter) for parameter in [*shared, *operation.get("parameters", [])]]

    def _resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the object itself, or the one that its ``$ref`` within the document leads to.

        Raise KeyError for a dead one.
        """
        reference = node.get("$ref")
        if reference is None:
            return node
        target: Any = self.document
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]
        return self._resolve(target)


def exact_document(node: Any) -> Any:
    """Return a copy of the document in which ``x-uprez-exact`` of each schema is applied to the schema.

    Its ``required`` names are added to those of the schema; its other keywords replace those of the schema.
    """
    if isinstance(node, list):
        return [exact_document(item) for item in node]
    if not isinstance(node, dict):
        return node
    exact = node.get(EXACT, {})
    made = {name: exact_document(value) for name, value in node.items() if name != EXACT} | exact
    if "required" in exact and isinstance(node.get("required"), list):
        made["required"] = [*node["required"], *exact["required"]]
    return made


def load_contract() -> Contract:
    """Read ``openapi.yaml`` from the wheel or the checkout."""
    path = next(path for path in _PATHS if path.exists())
    return Contract(path.read_text("utf-8"))
