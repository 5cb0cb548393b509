"""Validation of path and query parameters, for every operation and before its body."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from connexion.validators import ParameterValidator

from domain.errors import FieldProblem, InvalidFields, NotFound
from handlers.transport.request_context import request_context
from handlers.transport.schema_problems import validator_for, value_problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

QUERY = "uprez_query"
"""Key in the request's context: the values of the query parameters, with the contract's defaults."""
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)


def value_from_text(text: str, schema: Mapping[str, Any]) -> Any:
    """Return the value of a form field or query parameter.

    For an integer schema, convert only plain decimal text of at most 19 digits. All else stays text, for the
    schema to reject or accept. Nothing is validated here.
    """
    if schema.get("type") == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    return text


class StrictParameters(ParameterValidator):  # type: ignore[misc]  # Connexion is untyped
    """Parameter validator that finds every problem of the query and stores its values in the context."""

    def validate(self, scope: Scope) -> None:
        """Validate path and query, and store the query's values in the context as ``QUERY``.

        Raise NotFound for a path that no resource can have, InvalidFields for a wrong query.
        """
        values = scope["path_params"]
        # Each parameter is a whole segment. Connexion reads an id with leading zeros too, but then the segment
        # differs from the value.
        segments = scope["path"].split("/")
        for value in map(str, values.values()):
            if value not in segments:
                raise NotFound
            segments.remove(value)
        for parameter in self.parameters.get("path", []):
            name = parameter["name"]
            if value_problems(validator_for(parameter["schema"]), name, values[name]):
                raise NotFound
        request_context(scope)[QUERY] = self._parse_query(scope["query_string"])

    def _parse_query(self, query_string: bytes) -> dict[str, Any]:
        """Return the values of the contract's query parameters, with defaults for missing ones.

        Ignore unknown parameters, and empty values where the contract allows them. Raise InvalidFields with all repeated, missing and invalid ones.
        """
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
        query: dict[str, Any] = {}
        problems: list[FieldProblem] = []
        for parameter in self.parameters.get("query", []):
            name, schema = parameter["name"], parameter["schema"]
            values = [value for key, value in pairs if key == name]
            if len(values) > 1:
                problems.append(FieldProblem(name, "repeated"))
            elif values and (values[0] or not parameter.get("allowEmptyValue")):
                query[name] = value_from_text(values[0], schema)
                problems += value_problems(validator_for(schema), name, query[name])
            elif parameter.get("required"):
                problems.append(FieldProblem(name, "required"))
            elif "default" in schema:
                query[name] = schema["default"]
        if problems:
            raise InvalidFields(problems)
        return query
