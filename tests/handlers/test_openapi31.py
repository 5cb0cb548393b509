"""Tests of the contract in OpenAPI 3.1."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from handlers.openapi31 import to_openapi31
from handlers.transport.contract import load_contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.handlers.conftest import Client

DOCUMENT = to_openapi31(load_contract().document)


def resolved(node: Any) -> Any:
    while "$ref" in node:
        reference, node = node["$ref"], DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    return node


def json_bodies() -> Iterator[tuple[str, Any]]:
    """Yield the pointer of the schema and the value of each example of a JSON body."""
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values() if isinstance(methods, dict) else ():
            if not isinstance(operation, dict):
                continue
            for part in [operation.get("requestBody", {}), *operation["responses"].values()]:
                body = resolved(part).get("content", {}).get("application/json", {"examples": {}})
                for example in body["examples"].values():
                    yield body["schema"]["$ref"], resolved(example)["value"]


def test_served_document_is_valid(client: Client) -> None:
    served = json.loads(client.get("/api/openapi-3.1.json").body)

    assert served["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(served).validate()
    assert "nullable" not in json.dumps(served["components"]["schemas"])
    assert "x-codeSamples" in served["paths"]["/images"]["get"]


def test_examples_match_the_converted_schemas() -> None:
    resource = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    registry: Any = Registry().with_resource("urn:contract", resource)
    bodies = list(json_bodies())

    assert len(bodies) > 250
    for pointer, value in bodies:
        validator = Draft202012Validator({"$ref": f"urn:contract{pointer}"}, registry=registry)
        assert [error.message for error in validator.iter_errors(value)] == [], pointer
    image = Draft202012Validator(
        {"$ref": "urn:contract#/components/schemas/ImageDetails/properties/upscaled_size"}, registry=registry
    )
    assert (image.is_valid(None), image.is_valid(0), image.is_valid("1")) == (True, False, False)


def test_data_and_names_of_properties_are_kept() -> None:
    document = {
        "openapi": "3.0.3",
        "schema": {"properties": {"nullable": {"type": "string", "nullable": True}}},
        "value": {"nullable": True, "format": "binary"},
        "file": {"type": "string", "format": "binary"},
    }

    assert to_openapi31(document) == {
        "openapi": "3.1.0",
        "schema": {"properties": {"nullable": {"type": ["string", "null"]}}},
        "value": {"nullable": True, "format": "binary"},
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
    }


@pytest.mark.parametrize("schema", [{"nullable": True}, {"minimum": 1, "exclusiveMinimum": True}])
def test_what_cannot_be_converted_is_an_error(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"nullable|exclusive"):
        to_openapi31({"schema": schema})
