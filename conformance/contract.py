"""The contract that the kit holds servers to: the ``openapi.yaml`` of its own release."""

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

# How a size for people is rounded is Uprez's own; JOB-008 asks whether it is the right one.
_ANY_HUMAN_SIZE = r"^[0-9]+(\.[0-9]+)? (B|KB|MB|GB|TB)$"
_UNFINISHED = frozenset({"pending", "processing", "failed", "partially_failed", "cancelled"})
METHODS = ("get", "post", "put", "patch", "delete")


@cache
def contract_text() -> str:
    return (files("conformance") / "openapi.yaml").read_text("utf-8")


@cache
def contract() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(contract_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # safe both
    return loaded


@cache
def contract_digest() -> str:
    return hashlib.sha256(contract_text().encode()).hexdigest()


def resolve(pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) into the contract points at. Raises KeyError."""
    found: Any = contract()
    for part in pointer.removeprefix("/").split("/") if pointer else []:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise KeyError(f"{pointer} leads nowhere in the contract (at {name!r})") from None
    return found


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation that every server has; Uprez's additions are left out."""
    return [
        (method.upper(), path, operation)
        for path, item in contract()["paths"].items()
        for method, operation in item.items()
        if method in METHODS and not operation.get("x-uprez-extension")
    ]


@cache
def time_fields() -> frozenset[str]:
    """The names of all fields that hold a point in time."""
    return frozenset(_names_of_times(contract()["components"]["schemas"]))


def schema_problems(schema_pointer: str, instance: Any) -> list[str]:
    """What of ``instance`` breaks this schema of the contract, as far as it binds servers other than Uprez.

    Fields of Uprez's own may be missing, objects in `data` may have more fields, times may have any zone and
    precision, and what is null as long as an image or a batch is not completed may be left out until then.
    """
    found = []
    for error in _validator(schema_pointer).iter_errors(instance):
        if error.validator == "required" and _is_not_there_yet(error):
            continue
        where = "/".join(map(str, error.absolute_path)) or "the whole"
        found.append(f"{where}: {error.message}")
    return found


def documented_fields(schema_pointer: str) -> tuple[str, ...]:
    """Of an object, those that every server's have; Uprez's additions are left out."""
    properties = resolve(f"{schema_pointer}/properties")
    return tuple(name for name, schema in properties.items() if not _is_ours(schema))


def response_schema(method: str, path: str, status: int) -> str | None:
    """The pointer to the schema of the JSON that an operation answers with; None where there is none."""
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
    """The contract as it binds other servers: our own fields are optional, and more fields than ours allowed."""
    opened: dict[str, Any] = _opened(contract())
    return opened


def _opened(node: Any) -> Any:
    if isinstance(node, list):
        return [_opened(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {name: _opened(value) for name, value in node.items()}
    if node.get("format") == "date-time":
        made.pop("pattern", None)  # the six decimals
    if node.get("pattern") == resolve("/components/schemas/HumanBytes/pattern"):
        made["pattern"] = _ANY_HUMAN_SIZE
    if node == resolve("/components/schemas/Subscription/properties/status"):
        made.pop("enum", None)  # the four words
    properties = node.get("properties")
    if isinstance(properties, dict) and "success" not in properties:
        made.pop("additionalProperties", None)
        ours = {name for name, schema in properties.items() if _is_ours(schema)}
        required = [name for name in node.get("required", []) if name not in ours]
        made.pop("required", None)
        if required:
            made["required"] = required
    return made


def _names_of_times(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _names_of_times(item)
    elif isinstance(node, dict):
        properties = node.get("properties")
        for name, schema in properties.items() if isinstance(properties, dict) else ():
            target = resolve(schema["$ref"].removeprefix("#")) if "$ref" in schema else schema
            if target.get("format") == "date-time":
                yield name
        for value in node.values():
            yield from _names_of_times(value)


def _is_ours(schema: Any) -> bool:
    if isinstance(schema, dict) and "$ref" in schema:
        return _is_ours(resolve(schema["$ref"].removeprefix("#")))
    return isinstance(schema, dict) and bool(schema.get("x-uprez-extension"))


def _is_not_there_yet(error: Any) -> bool:
    """Whether what an object lacks may be null, and the object is an image or a batch that is not completed."""
    if error.instance.get("status") not in _UNFINISHED:
        return False
    # One error for each name that is missing; only its message says which.
    missing = [name for name in error.validator_value if error.message.startswith(repr(name))]
    return all(_is_nullable(error.schema["properties"][name]) for name in missing)


def _is_nullable(schema: dict[str, Any]) -> bool:
    if "$ref" in schema:
        schema = resolve(schema["$ref"].removeprefix("#"))
    return bool(schema.get("nullable"))


@cache
def _validator(pointer: str) -> Any:
    resource = Resource.from_contents(open_contract(), default_specification=DRAFT4)
    registry: Any = Registry().with_resource("urn:contract", resource)
    return OAS30Validator(
        {"$ref": f"urn:contract#{pointer}"}, registry=registry, format_checker=OAS30Validator.FORMAT_CHECKER
    )
