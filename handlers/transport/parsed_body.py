"""The body of a request, between its validation and the operation function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import UploadFile

    from domain.errors import FieldProblem

PARSED_BODY = "uprez_parsed_body"
"""Key in the request's context."""


@dataclass(frozen=True)
class ParsedBody:
    """The valid ``fields`` and ``files`` of a body, and the ``problems`` of the others.

    Text of a wrong length is in ``fields`` and in ``problems``, because the domain may find more problems with it.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, list[UploadFile]] = field(default_factory=dict)
    problems: list[FieldProblem] = field(default_factory=list)
    all_files: Mapping[str, list[UploadFile]] = field(default_factory=dict)
    """Valid or not: the edge closes them after the response."""
