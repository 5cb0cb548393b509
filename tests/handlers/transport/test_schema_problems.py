"""Tests of schema problems and their messages."""

from __future__ import annotations

from typing import Any

import pytest
from connexion.json_schema import Draft4RequestValidator

from domain.errors import FieldProblem
from handlers.transport.field_messages import field_errors
from handlers.transport.schema_problems import object_problems, value_problems


def problems(schema: dict[str, Any], members: dict[str, Any]) -> list[FieldProblem]:
    return object_problems(Draft4RequestValidator({"type": "object", **schema}), members)


def test_missing_fields_are_reported_once() -> None:
    found = problems({"required": ["a", "b", "c"]}, {"b": 1})

    assert field_errors(found) == {"a": ["The a field is required."], "c": ["The c field is required."]}


def test_unknown_fields_are_reported() -> None:
    schema = {"properties": {"a": {}}, "additionalProperties": False}

    assert problems(schema, {"a": 1, "b": 2, "c": 3}) == [
        FieldProblem("b", "unknown"),
        FieldProblem("c", "unknown"),
    ]


# A small body can have so many wrong items that listing all takes a second.
def test_number_of_listed_problems_is_bounded() -> None:
    schema = {"required": ["a"], "properties": {"b": {"items": {"enum": [1]}}}}
    found = problems(schema, {"b": [2] * 30_000})

    assert len(found) == 1000
    assert field_errors(found) == {
        "a": ["The a field is required."],
        "b": ["The b must each be one of: 1."],
    }


@pytest.mark.parametrize(
    ("schema", "value", "rule", "facts"),
    [
        ({"type": "string"}, None, "string", {}),
        ({"type": "string"}, 1, "string", {}),
        ({"type": "integer"}, "1", "integer", {}),
        ({"type": "integer"}, True, "integer", {}),
        ({"type": "number"}, "1", "number", {}),
        ({"type": "boolean"}, 1, "boolean", {}),
        ({"type": "array"}, {}, "array", {}),
        ({"type": "object"}, [], "object", {}),
        ({"type": "integer", "minimum": 2, "maximum": 4}, 1, "between", {"minimum": 2, "maximum": 4}),
        ({"type": "integer", "minimum": 2, "maximum": 4}, 5, "between", {"minimum": 2, "maximum": 4}),
        ({"type": "integer", "minimum": 2}, 1, "minimum", {"minimum": 2}),
        ({"type": "integer", "maximum": 4}, 5, "maximum", {"maximum": 4}),
        ({"type": "string", "minLength": 8}, "x", "min_characters", {"minimum": 8}),
        ({"type": "string", "minLength": 1}, "", "required", {}),
        ({"type": "string", "maxLength": 1}, "xx", "max_characters", {"maximum": 1}),
        ({"type": "string", "enum": ["a", "b"]}, "c", "one_of", {"allowed": "a, b"}),
        ({"type": "string", "pattern": "^a$"}, "b", "format", {}),
        ({"type": "string", "pattern": r"^[^\x00-\x1F]*$"}, "a\tb", "characters", {}),
        ({"type": "array", "items": {"type": "string"}}, [1], "format", {}),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, ["c", "a"], "each_of", {"allowed": "a, b"}),
        ({"type": "array", "minItems": 1}, [], "filled", {}),
        ({"type": "array", "minItems": 2}, [1], "format", {}),
        ({"type": "array", "maxItems": 1}, [1, 2], "max_items", {"maximum": 1}),
    ],
)
def test_failed_rule_has_a_name_and_a_message(
    schema: dict[str, Any], value: object, rule: str, facts: dict[str, object]
) -> None:
    found = problems({"properties": {"a_b": schema}}, {"a_b": value})

    assert found == [FieldProblem("a_b", rule, facts)]
    ((name, (message,)),) = field_errors(found).items()
    assert name == "a_b"
    assert message.startswith("The a b ")
    assert "{" not in message


def test_null_in_a_required_field_counts_as_missing() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}

    assert problems(schema, {"a": None, "b": None}) == [
        FieldProblem("a", "required"),
        FieldProblem("b", "string"),
    ]


def test_nullable_field_accepts_null() -> None:
    assert not problems(
        {"properties": {"a": {"type": "string", "nullable": True, "enum": ["x", None]}}}, {"a": None}
    )


def test_problem_of_the_whole_body_is_reported_as_body() -> None:
    assert problems({"maxProperties": 1}, {"a": 1, "b": 2}) == [FieldProblem("body", "format")]


def test_parameter_problem_has_the_parameter_name() -> None:
    validator = Draft4RequestValidator({"type": "integer", "minimum": 1})

    assert value_problems(validator, "page", 0) == [FieldProblem("page", "minimum", {"minimum": 1})]
    assert value_problems(validator, "page", 1) == []


def test_equal_messages_are_reported_once() -> None:
    twice = [FieldProblem("a", "required"), FieldProblem("a", "required"), FieldProblem("a", "string")]

    assert field_errors(twice) == {"a": ["The a field is required.", "The a must be a string."]}
