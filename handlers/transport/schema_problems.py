"""Compare values with JSON schemas and list every problem, where a validator would stop at the first."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from connexion.json_schema import Draft4RequestValidator

from domain.errors import FieldProblem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

WHOLE_BODY = "body"
"""Field name under which a problem of the whole body is reported."""
_MAX_PROBLEMS = 1000
"""64 KiB of JSON can hold so many wrong list items that listing them all takes more than a second."""

_NO_CONTROL_CHARACTERS = r"^[^\x00-\x1F"
"""Start of the contract's patterns for text in one line."""

_validators: dict[int, tuple[Mapping[str, Any], Any]] = {}
"""By the schema's ``id()``. The stored schema keeps the id from being reused."""


def validator_for(schema: Mapping[str, Any]) -> Any:
    """Return the cached validator of this schema."""
    # The contract bounds their number. Making a validator costs more than validating most values.
    cached = _validators.get(id(schema))
    if cached is None:
        cached = _validators[id(schema)] = (schema, Draft4RequestValidator(schema))
    return cached[1]


def object_problems(validator: Validator, members: Mapping[str, Any]) -> list[FieldProblem]:
    """Return the problems of an object's members, at most ``_MAX_PROBLEMS`` errors of the validator."""
    problems: list[FieldProblem] = []
    required = validator.schema.get("required", ())
    for error in islice(validator.iter_errors(members), _MAX_PROBLEMS):
        problems += _problems(error, required)
    return problems


def value_problems(validator: Validator, name: str, value: Any) -> list[FieldProblem]:
    """Return the problems of one parameter."""
    return [_problem(name, error) for error in validator.iter_errors(value)]


def _problems(error: ValidationError, required: Collection[str]) -> Iterator[FieldProblem]:
    """Yield the field problems of one error of the validator.

    A missing field, and null in a required one, is ``required``; an additional one is ``unknown``. An error
    in a list's item is one of its field; an error of the body itself has the name ``WHOLE_BODY``. The same
    problem may come more than once from several errors.
    """
    if len(error.path) == 1 and error.path[0] in required and error.instance is None:
        yield FieldProblem(str(error.path[0]), "required")  # null in a required field counts as missing
    elif error.path:
        yield _problem(str(error.path[0]), error)
    elif error.validator == "required":
        # The validator reports one error for each missing name, and only its message has the name.
        # Each error yields all missing names here; ``field_errors`` drops the repetitions.
        for name in error.validator_value:
            if name not in error.instance:
                yield FieldProblem(name, "required")
    elif error.validator == "additionalProperties":
        for name in error.instance:
            if name not in error.schema.get("properties", {}):
                yield FieldProblem(name, "unknown")
    else:
        yield _problem(WHOLE_BODY, error)


def _problem(name: str, error: ValidationError) -> FieldProblem:
    """Return the problem with the rule for the value, or for an item if the error is inside a list."""
    rule, facts = _rule_of_item(error) if len(error.path) > 1 else _rule(error)
    return FieldProblem(name, rule, facts)


def _rule_of_item(error: ValidationError) -> tuple[str, dict[str, object]]:
    """Return the same as ``_rule``, for an error inside a list."""
    if error.validator == "enum":
        return "each_of", {"allowed": ", ".join(map(str, error.validator_value))}
    return "format", {}


def _rule(error: ValidationError) -> tuple[str, dict[str, object]]:
    """Return the failed rule's name in ``field_messages`` and the values that its message needs."""
    schema, value = error.schema, error.validator_value
    match error.validator:
        case "type":
            rule, facts = str(value), {}
        case "minimum" | "maximum" if "minimum" in schema and "maximum" in schema:
            rule, facts = "between", {"minimum": schema["minimum"], "maximum": schema["maximum"]}
        case "minimum" | "maximum" as bound:
            rule, facts = bound, {bound: value}
        case "minLength":
            rule, facts = ("min_characters", {"minimum": value}) if error.instance else ("required", {})
        case "maxLength":
            rule, facts = "max_characters", {"maximum": value}
        case "minItems" if value == 1:
            rule, facts = "filled", {}
        case "maxItems":
            rule, facts = "max_items", {"maximum": value}
        case "enum":
            rule, facts = "one_of", {"allowed": ", ".join(map(str, value))}
        case "pattern" if value.startswith(_NO_CONTROL_CHARACTERS):
            rule, facts = "characters", {}
        case _:
            rule, facts = "format", {}
    return rule, facts
