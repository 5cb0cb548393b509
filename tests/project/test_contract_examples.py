"""The examples of openapi.yaml: each is valid, and every operation, status and language has one."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from openapi_schema_validator import OAS30Validator, oas30_format_checker
from openapi_spec_validator import validate

from handlers.code_samples import apply_overlay, load_samples
from handlers.transport.contract import exact_document
from project_root import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = apply_overlay(yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8")), load_samples())
LANGUAGES = [
    ("Shell", "curl"),
    ("Python", "Python (requests)"),
    ("JavaScript", "JavaScript (fetch)"),
    ("PHP", "PHP (curl)"),
]
METHODS = {"get", "post", "put", "patch", "delete"}
WITHOUT_BODY = {"304"}


def resolved(node: Any) -> Any:
    """Return the node with every ``$ref`` in it replaced by its target."""
    if isinstance(node, list):
        return [resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" not in node:
        return {name: resolved(member) for name, member in node.items()}
    target: Any = DOCUMENT
    for name in node["$ref"].removeprefix("#/").split("/"):
        target = target[name]
    return resolved(target)


OPERATIONS = {
    f"{method.upper()} {path}": {
        **resolved(operation),
        "parameters": resolved([*operations.get("parameters", []), *operation.get("parameters", [])]),
    }
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if method in METHODS
}
every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def bodies(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each media type object of an operation, with a name for messages."""
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"request {media_type}", body
    for status, response in operation["responses"].items():
        for media_type, body in response.get("content", {}).items():
            yield f"{status} {media_type}", body


def problems(schema: dict[str, Any], value: Any) -> list[str]:
    validator = OAS30Validator(schema, format_checker=oas30_format_checker)
    return [error.message for error in validator.iter_errors(value)]


def test_contract_is_valid_openapi() -> None:
    validate(DOCUMENT)


# PyYAML keeps the last of two equal keys and reports nothing.
@pytest.mark.parametrize("path", ["openapi.yaml", "docs/reference/samples.yaml"])
def test_no_key_is_repeated(path: str) -> None:
    def repeated(node: yaml.Node) -> Iterator[str]:
        if isinstance(node, yaml.MappingNode):
            names = Counter(key.value for key, _ in node.value)
            yield from (f"{name} at {node.start_mark}" for name, count in names.items() if count > 1)
        for child in node.value if isinstance(node, yaml.CollectionNode) else ():
            for part in child if isinstance(child, tuple) else (child,):
                yield from repeated(part)

    assert list(repeated(yaml.compose((ROOT / path).read_text("utf-8"), yaml.SafeLoader))) == []


@every_operation
def test_every_body_has_valid_examples(operation: dict[str, Any]) -> None:
    for where, body in bodies(operation):
        assert body["examples"], where
        for name, example in body["examples"].items():
            assert example["summary"], (where, name)
            assert problems(body["schema"], example["value"]) == [], (where, name)


@every_operation
def test_every_status_has_a_body_with_examples(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        assert (status in WITHOUT_BODY) is ("content" not in response), status


@every_operation
def test_every_parameter_and_header_has_a_valid_example(operation: dict[str, Any]) -> None:
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    parameters |= resolved(DOCUMENT["x-uprez-common-headers"])
    for response in operation["responses"].values():
        parameters |= response.get("headers", {})
    for name, parameter in parameters.items():
        assert problems(parameter["schema"], parameter["example"]) == [], name


# The texts of messages can differ between servers, but every body must have the form of its envelope.
@every_operation
def test_examples_have_the_envelope_of_their_status(operation: dict[str, Any]) -> None:
    for where, body in bodies(operation):
        status = where.partition(" ")[0]
        if status != "request" and where.endswith("application/json"):
            for example in body["examples"].values():
                assert example["value"]["success"] is (status < "400"), where
                assert ("errors" in example["value"]) is (status == "422"), where


@every_operation
def test_every_operation_has_samples_in_four_languages(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert {tag["name"] for tag in DOCUMENT["tags"]}.issuperset(operation["tags"])
    assert len(operation["tags"]) == 1
    samples = operation["x-codeSamples"]
    assert [(sample["lang"], sample["label"]) for sample in samples] == LANGUAGES
    assert all(sample["source"].strip() for sample in samples)


# The key is for programs, the sentence for readers.
@every_operation
def test_description_names_what_the_operation_requires(operation: dict[str, Any]) -> None:
    required = operation.get("x-uprez-requires", [])
    sentences = re.findall(r"(?m)^Requires (.*)\.$", operation["description"])

    assert [re.findall(r"`(.*?)`", sentence) for sentence in sentences] == ([required] if required else [])
    assert not required or "security" not in operation


# The first steps must list every variable that a reader has to set to run the samples.
def test_every_variable_of_the_samples_is_documented() -> None:
    used = {
        variable
        for operation in OPERATIONS.values()
        for sample in operation["x-codeSamples"]
        for variable in re.findall(r"UPREZ_[A-Z_]+", sample["source"])
    }
    (first_steps,) = (tag["description"] for tag in DOCUMENT["tags"] if tag["name"] == "First steps")
    assert {variable for variable in used if f"`{variable}`" not in first_steps} == set()


# Another server may send more fields in an object; the examples and Uprez have exactly the documented ones.
@every_operation
def test_examples_have_the_exact_form_of_uprez(operation: dict[str, Any]) -> None:
    for where, body in bodies(operation):
        for name, example in body["examples"].items():
            assert problems(exact_document(body["schema"]), example["value"]) == [], (where, name)


# Without `additionalProperties: false`, a misspelt field or a leaked secret would be valid.
def test_every_exact_object_forbids_additional_properties() -> None:
    open_objects = [
        name
        for name, schema in exact_document(DOCUMENT["components"]["schemas"]).items()
        if "properties" in schema and schema.get("additionalProperties") is not False
    ]
    assert open_objects == []


def test_every_component_is_used() -> None:
    text = (ROOT / "openapi.yaml").read_text("utf-8")
    unused = [
        f"{kind}/{name}"
        for kind, members in DOCUMENT["components"].items()
        if kind != "securitySchemes"
        for name in members
        if f"#/components/{kind}/{name}'" not in text
    ]
    assert unused == []
