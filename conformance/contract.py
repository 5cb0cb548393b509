"""The contract: the ``openapi.yaml`` of the kit's release."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml
from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

if TYPE_CHECKING:
    from collections.abc import Iterator

# The rounding of a readable size is specific to Uprez; JOB-008 checks the value.
_ANY_HUMAN_SIZE = r"^[0-9]+(\.[0-9]+)? (B|KB|MB|GB|TB)$"
_UNFINISHED = frozenset({"pending", "processing", "failed", "partially_failed", "cancelled"})
METHODS = ("get", "post", "put", "patch", "delete")


@cache
def contract_text() -> str:
    """Return the text of the contract that the kit ships."""
    return (files("conformance") / "openapi.yaml").read_text("utf-8")


@cache
def contract() -> dict[str, Any]:
    """Return the parsed contract, shared by all callers: it must not be changed."""
    loaded: dict[str, Any] = yaml.load(contract_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # safe both
    return loaded


@cache
def contract_digest() -> str:
    """Return the SHA-256 of the contract's text in hexadecimal."""
    return hashlib.sha256(contract_text().encode()).hexdigest()


def resolve(pointer: str) -> Any:
    """Return the target of a JSON pointer (RFC 6901) in the contract; the whole contract for "".

    Follow no `$ref`. Raise KeyError if the target does not exist.
    """
    found: Any = contract()
    for part in pointer.removeprefix("/").split("/") if pointer else []:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise KeyError(f"{pointer} does not exist in the contract (at {name!r})") from None
    return found


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Return upper-case method, path (without the base URL) and description of each operation.

    Operations marked as extensions of Uprez are left out.
    """
    return [
        (method.upper(), path, operation)
        for path, item in contract()["paths"].items()
        for method, operation in item.items()
        if method in METHODS and not operation.get("x-uprez-extension")
    ]


@cache
def time_fields() -> frozenset[str]:
    """Return the names of all fields that the schemas of the contract define as `date-time`, at any depth."""
    return frozenset(_time_field_names(contract()["components"]["schemas"]))


def schema_problems(schema_pointer: str, instance: Any) -> list[str]:
    """Return the violations of this schema of the contract, as far as it applies to other servers.

    None if valid. Extensions of Uprez may be missing, objects in `data` may have more fields, and times may
    have any zone and precision. A nullable field may be missing from an image or batch that is not completed.
    """
    found = []
    for error in _validator(schema_pointer).iter_errors(instance):
        if error.validator == "required" and _may_still_be_missing(error):
            continue
        where = "/".join(map(str, error.absolute_path)) or "the body"
        found.append(f"{where}: {error.message}")
    return found


def documented_fields(schema_pointer: str) -> tuple[str, ...]:
    """Return the fields of an object except Uprez's extensions."""
    properties = resolve(f"{schema_pointer}/properties")
    return tuple(name for name, schema in properties.items() if not _is_extension(schema))


def response_schema(method: str, path: str, status: int) -> str | None:
    """Return the pointer to the schema of a JSON response of an operation; follow a `$ref` of the response.

    Return None if the contract lacks the path, method or status, or if the response has no JSON. ``path`` has
    placeholders, as in ``/images/{id}``.
    """
    pointer = f"/paths/{path.replace('~', '~0').replace('/', '~1')}/{method.lower()}/responses/{status}"
    try:
        response = resolve(pointer)
    except KeyError:
        return None
    if "$ref" in response:
        pointer = response["$ref"].removeprefix("#")
        response = resolve(pointer)
    if "application/json" not in response.get("content", {}):
        return None
    return f"{pointer}/content/application~1json/schema"


@cache
def open_contract() -> dict[str, Any]:
    """Return the contract as it applies to other servers: extensions are optional, more fields are allowed.

    All callers share the result: it must not be changed.
    """
    relaxed: dict[str, Any] = _relaxed(contract())
    return relaxed


def _relaxed(node: Any) -> Any:
    """Return a copy of this part of the contract without the rules that are specific to Uprez.

    Left out are the six decimals of times, the values of a subscription's status and, except in an envelope
    (an object with `success`), required extensions and `additionalProperties`. A readable size may have any
    rounding.
    """
    if isinstance(node, list):
        return [_relaxed(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {name: _relaxed(value) for name, value in node.items()}
    if node.get("format") == "date-time":
        made.pop("pattern", None)  # the six decimals
    if node.get("pattern") == resolve("/components/schemas/HumanBytes/pattern"):
        made["pattern"] = _ANY_HUMAN_SIZE
    if node == resolve("/components/schemas/Subscription/properties/status"):
        made.pop("enum", None)  # the four values of Uprez
    properties = node.get("properties")
    if isinstance(properties, dict) and "success" not in properties:
        made.pop("additionalProperties", None)
        extensions = {name for name, schema in properties.items() if _is_extension(schema)}
        required = [name for name in node.get("required", []) if name not in extensions]
        made.pop("required", None)
        if required:
            made["required"] = required
    return made


def _time_field_names(node: Any) -> Iterator[str]:
    """Yield the names of the `date-time` properties at any depth, in part repeatedly; follow one `$ref`."""
    if isinstance(node, list):
        for item in node:
            yield from _time_field_names(item)
    elif isinstance(node, dict):
        properties = node.get("properties")
        for name, schema in properties.items() if isinstance(properties, dict) else ():
            target = resolve(schema["$ref"].removeprefix("#")) if "$ref" in schema else schema
            if target.get("format") == "date-time":
                yield name
        for value in node.values():
            yield from _time_field_names(value)


def _is_extension(schema: Any) -> bool:
    """Return whether the schema, or the target of its `$ref`, is marked as an extension of Uprez."""
    if isinstance(schema, dict) and "$ref" in schema:
        return _is_extension(resolve(schema["$ref"].removeprefix("#")))
    return isinstance(schema, dict) and bool(schema.get("x-uprez-extension"))


def _may_still_be_missing(error: Any) -> bool:
    """Return whether the missing field is nullable and the object is an unfinished image or batch.

    ``error`` is a violation of `required`. Unfinished: pending, processing, failed, partially_failed,
    cancelled.
    """
    if error.instance.get("status") not in _UNFINISHED:
        return False
    # There is one error for each missing name, and only its message contains the name.
    missing = [name for name in error.validator_value if error.message.startswith(repr(name))]
    return all(_is_nullable(error.schema["properties"][name]) for name in missing)


def _is_nullable(schema: dict[str, Any]) -> bool:
    """Return whether the schema, or the target of its `$ref`, allows null."""
    if "$ref" in schema:
        schema = resolve(schema["$ref"].removeprefix("#"))
    return bool(schema.get("nullable"))


@cache
def _validator(pointer: str) -> Any:
    """Return a validator of the relaxed schema at this pointer; it also checks formats."""
    resource = Resource.from_contents(open_contract(), default_specification=DRAFT4)
    registry: Any = Registry().with_resource("urn:contract", resource)
    return OAS30Validator(
        {"$ref": f"urn:contract#{pointer}"}, registry=registry, format_checker=OAS30Validator.FORMAT_CHECKER
    )
