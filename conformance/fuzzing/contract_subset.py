"""The part of the contract that requests are generated from: it applies to every server and is safe to send."""

from __future__ import annotations

import copy
from typing import Any

from conformance.contract import METHODS, contract, resolve

# The former revoke the user's tokens; the latter count as anonymous requests, which are limited.
_ENDS_TOKENS = {("post", "/auth/logout"), ("post", "/auth/revoke-all"), ("delete", "/user/tokens/{id}")}
_ACCOUNTS = {("post", "/auth/register"), ("post", "/auth/login")}
_ENCODING_OF_A_FILE = "/paths/~1images~1upscale/post/requestBody/content/multipart~1form-data/encoding/image"
_ANY_TIME = ("400", "405", "408", "431")  # the contract allows these for any request


def contract_for(profiles: set[str]) -> dict[str, Any]:
    """Return a new contract document with the operations to send for these profiles.

    Batches and accounts need their profiles; extensions and operations that end tokens are left out. Without
    the profile security, no operation needs a token: the hooks add it.
    """
    made = copy.deepcopy(contract())
    kept = {}
    for path, item in made["paths"].items():
        for method in [name for name in item if name in METHODS]:
            if _is_left_out(method, path, item[method], profiles):
                del item[method]
            else:
                kept[item[method]["operationId"]] = item[method]
                _adapt(item[method])
    for operation in kept.values():
        _prune_links(operation, kept.keys())
        _add_common_headers(operation)
    made["paths"] = {
        path: item for path, item in made["paths"].items() if any(name in item for name in METHODS)
    }
    if "security" not in profiles:
        _remove_security(made, kept.values())
    return made


def _is_left_out(method: str, path: str, operation: dict[str, Any], profiles: set[str]) -> bool:
    """Return whether an operation must not be sent; ``method`` is in lower case."""
    if operation.get("x-uprez-extension") or (method, path) in _ENDS_TOKENS:
        return True
    if (method, path) in _ACCOUNTS:
        return "accounts" not in profiles
    return path.startswith("/batches") and "batches" not in profiles


def _adapt(operation: dict[str, Any]) -> None:
    """Change an operation in place: a request body without extensions, and more error responses.

    400, 405, 408 and 431 are added where they are missing.
    """
    if "requestBody" in operation:
        operation["requestBody"] = _request(operation["requestBody"])
    schema = {"$ref": "#/components/schemas/ErrorResponse"}
    for status in _ANY_TIME:
        described = {
            "description": "Any request can get this response.",
            "content": {"application/json": {"schema": schema}},
        }
        operation["responses"].setdefault(status, described)


def _request(body: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the request body without Uprez's extensions.

    Unlike a response it rejects unknown fields. Examples that use an extension are left out.
    """
    body = copy.deepcopy(body)
    for media in body["content"].values():
        schema = copy.deepcopy(_resolved(media["schema"]))
        extensions = {name for name, value in schema.get("properties", {}).items() if _is_extension(value)}
        for name in extensions:
            del schema["properties"][name]
        media["schema"] = schema
        for name, value in schema.get("properties", {}).items():
            if value.get("items", {}).get("format") == "binary":
                # Without it, Schemathesis sends text in place of files. Generators of clients read it as JSON.
                media.setdefault("encoding", {})[name] = resolve(_ENCODING_OF_A_FILE)
        media["examples"] = {
            name: example
            for name, example in media.get("examples", {}).items()
            if not extensions & set(example.get("value", {}))
        }
    return body


def _prune_links(operation: dict[str, Any], kept: Any) -> None:
    """Remove the links of an operation that lead to operations not in ``kept``; change it in place."""
    for response in operation["responses"].values():
        if "links" in response:
            links = response["links"].items()
            response["links"] = {name: link for name, link in links if link["operationId"] in kept}


def _add_common_headers(operation: dict[str, Any]) -> None:
    """Add the headers of every response, which the contract lists once, to each response; change it in place."""
    for status, response in operation["responses"].items():
        described = copy.deepcopy(_resolved(response))
        described["headers"] = {**contract()["x-uprez-common-headers"], **described.get("headers", {})}
        operation["responses"][status] = described


def _remove_security(made: dict[str, Any], operations: Any) -> None:
    """Remove the security schemes, so that no request is generated without a token: the kit adds it."""
    made.pop("security", None)
    made["components"].pop("securitySchemes", None)
    for operation in operations:
        operation.pop("security", None)


def _is_extension(schema: dict[str, Any]) -> bool:
    """Return whether the schema, or the one that it refers to, is an addition of Uprez."""
    return bool(_resolved(schema).get("x-uprez-extension"))


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that a ``$ref`` leads to, and any other schema itself."""
    found: dict[str, Any] = resolve(schema["$ref"].removeprefix("#")) if "$ref" in schema else schema
    return found
