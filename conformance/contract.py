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
    """Return the violations of this schema of the contract; an empty list if there are none.

    The keys `x-uprez-exact`, which hold for Uprez only, are ignored. Formats are checked.
    """
    return [
        f"{'/'.join(map(str, error.absolute_path)) or 'the body'}: {error.message}"
        for error in _validator(schema_pointer).iter_errors(instance)
    ]


def documented_fields(schema_pointer: str) -> tuple[str, ...]:
    """Return the fields of an object except Uprez's extensions."""
    properties = resolve(f"{schema_pointer}/properties")
    return tuple(name for name, schema in properties.items() if not _is_extension(schema))


def fields_of_completed(schema_pointer: str) -> frozenset[str]:
    """Return the fields that an object has once it is completed, except Uprez's extensions.

    These are the required fields, and those that an unfinished object may omit because they are null.
    """
    schema = resolve(schema_pointer)
    required = {*schema["required"], *schema["x-uprez-exact"].get("required", ())}
    return frozenset(required.intersection(documented_fields(schema_pointer)))


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


def _time_field_names(node: Any) -> Iterator[str]:
    """Yield the names of the `date-time` properties at any depth, in part repeatedly; follow a `$ref`."""
    if isinstance(node, list):
        for item in node:
            yield from _time_field_names(item)
    elif isinstance(node, dict):
        properties = node.get("properties")
        for name, schema in properties.items() if isinstance(properties, dict) else ():
            reference = schema.get("allOf", [schema])[0]
            target = resolve(reference["$ref"].removeprefix("#")) if "$ref" in reference else schema
            if target.get("format") == "date-time":
                yield name
        for value in node.values():
            yield from _time_field_names(value)


def _is_extension(schema: Any) -> bool:
    """Return whether the schema, or the target of its `$ref`, is marked as an extension of Uprez."""
    if isinstance(schema, dict) and "$ref" in schema:
        return _is_extension(resolve(schema["$ref"].removeprefix("#")))
    return isinstance(schema, dict) and bool(schema.get("x-uprez-extension"))


@cache
def _validator(pointer: str) -> Any:
    """Return a validator of the schema at this pointer; it also checks formats."""
    resource = Resource.from_contents(contract(), default_specification=DRAFT4)
    registry: Any = Registry().with_resource("urn:contract", resource)
    return OAS30Validator(
        {"$ref": f"urn:contract#{pointer}"}, registry=registry, format_checker=OAS30Validator.FORMAT_CHECKER
    )
