"""Everything that a value has against its schema, field by field, where validators stop at the first."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from domain.errors import FieldProblem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

WHOLE_BODY = "body"
"""The name under which a problem of the body as a whole is reported."""
_ENOUGH = 1000
"""So many problems are listed: a list in 64 KiB of JSON has room for more than a second's worth of wrong items."""

_NO_CONTROLS = r"^[^\u0000-\u001F"
"""So begin the contract's patterns of text in one line."""


def object_problems(validator: Validator, members: Mapping[str, Any]) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    required = validator.schema.get("required", ())
    for error in islice(validator.iter_errors(members), _ENOUGH):
        problems += _problems(error, required)
    return problems


def value_problems(validator: Validator, name: str, value: Any) -> list[FieldProblem]:
    """The same for a single parameter."""
    return [_problem(name, error) for error in validator.iter_errors(value)]


def _problems(error: ValidationError, required: Collection[str]) -> Iterator[FieldProblem]:
    if len(error.path) == 1 and error.path[0] in required and error.instance is None:
        yield FieldProblem(str(error.path[0]), "required")  # null is as good as missing, where that is wrong
    elif error.path:
        yield _problem(str(error.path[0]), error)
    elif error.validator == "required":
        # One error for each missing name, which only the sentence carries: all at once instead,
        # and the caller drops the repetitions.
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
    rule, facts = _rule_of_item(error) if len(error.path) > 1 else _rule(error)
    return FieldProblem(name, rule, facts)


def _rule_of_item(error: ValidationError) -> tuple[str, dict[str, object]]:
    """As ``_rule``, where the field is a list and the problem is with something in it."""
    if error.validator == "enum":
        return "each_of", {"allowed": ", ".join(map(str, error.validator_value))}
    return "format", {}


def _rule(error: ValidationError) -> tuple[str, dict[str, object]]:
    """The name of the broken rule among our sentences, and the facts that its sentence needs."""
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
        case "pattern" if value.startswith(_NO_CONTROLS):
            rule, facts = "characters", {}
        case _:
            rule, facts = "format", {}
    return rule, facts
