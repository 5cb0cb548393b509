"""Validation of JSON and multipart bodies.

The validators reject only what cannot be parsed (400). They collect the problems of what can be parsed, so that
the domain adds its own and the client gets all of them in one 422.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from connexion.validators import JSONRequestBodyValidator, MultiPartFormDataValidator
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException

from domain.errors import FieldProblem
from handlers.transport import strict_json
from handlers.transport.envelope import TransportError
from handlers.transport.multipart import MAX_FILES, StrictMultipartParser
from handlers.transport.parameters import value_from_text
from handlers.transport.parsed_body import PARSED_BODY, ParsedBody
from handlers.transport.request_context import request_context
from handlers.transport.schema_problems import WHOLE_BODY, object_problems, validator_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from starlette.types import Receive, Scope

_LENGTH_RULES = {"min_characters", "max_characters"}
_ARRAY_SUFFIX = "[]"
"""End of the name of a form field that accepts several values. Its problems are reported without it."""
_INDEX = re.compile(r"\[[0-9]*\]")
"""What clients write after the name of a field with several values; some of them write nothing."""
_BODY_HEADERS = {b"content-length", b"content-type", b"transfer-encoding"}


def _is_empty(part: UploadFile | str) -> bool:
    """Return whether the form field was left empty: an empty text, or a file without name and content."""
    if isinstance(part, UploadFile):
        return not part.filename and not part.size
    return not part


def _without_body_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of the same request with an empty body: ``Content-Length: 0`` and no media type."""
    return [header for header in headers if header[0] not in _BODY_HEADERS] + [(b"content-length", b"0")]


async def _receive_empty_body() -> dict[str, Any]:
    """Return the only message of an empty body, each time it is called."""
    return {"type": "http.request", "body": b"", "more_body": False}


class _CollectingBodyValidator:
    """Store the parsed body in the request's context, and pass an empty body on to the application."""

    _schema: dict[str, Any]  # set by Connexion's validator

    async def wrap_receive(self, receive: Receive, *, scope: Scope) -> tuple[Receive, Scope]:
        """Read and parse the whole body, store it in the context as ``PARSED_BODY``, and return an empty
        request.

        Raise TransportError 400 for a malformed body and for a client that disconnects. Problems of well-
        formed bodies are stored and not raised.
        """

        async def stream() -> AsyncGenerator[bytes, None]:
            """Yield the body's parts. Raise TransportError 400 if the client disconnects."""
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise TransportError(HTTPStatus.BAD_REQUEST)
                more = message.get("more_body", False)
                yield message.get("body", b"")

        request_context(scope)[PARSED_BODY] = await self.parse(stream(), Headers(scope=scope))
        return _receive_empty_body, {**scope, "headers": _without_body_headers(scope["headers"])}

    async def parse(self, stream: AsyncGenerator[bytes, None], headers: Headers) -> ParsedBody:
        """Return the body. Raise TransportError 400 if it is malformed."""
        raise NotImplementedError

    def _validate_members(
        self,
        members: Mapping[str, Any],
        files: Mapping[str, list[UploadFile]],
        problems_so_far: Iterable[FieldProblem],
    ) -> ParsedBody:
        """Return the body with the schema's problems of ``members`` added to ``problems_so_far``.

        A field with a problem is neither in ``fields`` nor in ``files``, except text whose only problem is its length;
        empty text counts as missing. The problems name array fields without ``[]``.
        """
        problems = [*problems_so_far, *object_problems(validator_for(self._schema), members)]
        wrong = {problem.field for problem in problems if problem.rule not in _LENGTH_RULES}
        return ParsedBody(
            fields={
                name: value for name, value in members.items() if name not in wrong and name not in files
            },
            files={name: uploads for name, uploads in files.items() if name not in wrong},
            problems=[self._without_array_suffix(problem) for problem in problems],
            all_files=files,
        )

    def _without_array_suffix(self, problem: FieldProblem) -> FieldProblem:
        """Return the problem of ``images[]`` as one of ``images``.

        A field that the schema lacks keeps its name.
        """
        known = problem.field in self._schema.get("properties", {})
        return replace(problem, field=problem.field.removesuffix(_ARRAY_SUFFIX)) if known else problem


class StrictJsonBody(_CollectingBodyValidator, JSONRequestBodyValidator):  # type: ignore[misc]  # Connexion is untyped
    """Validator of ``application/json``."""

    async def parse(self, stream: AsyncGenerator[bytes, None], headers: Headers) -> ParsedBody:  # noqa: ARG002
        """Return the body's members. Raise TransportError 400 for text that is not JSON.

        JSON that is not an object is a problem of the whole body, not an error.
        """
        try:
            body = strict_json.decode(b"".join([chunk async for chunk in stream]))
        except strict_json.MalformedJson as reason:
            raise TransportError(HTTPStatus.BAD_REQUEST) from reason
        if not isinstance(body, dict):
            return ParsedBody(problems=[FieldProblem(WHOLE_BODY, "object")])
        return self._validate_members(body, {}, [])


class StrictFormBody(_CollectingBodyValidator, MultiPartFormDataValidator):  # type: ignore[misc]
    """Validator of ``multipart/form-data``.

    It reads the stream once; files over 64 KiB go to disk as they
    arrive.
    """

    async def parse(self, stream: AsyncGenerator[bytes, None], headers: Headers) -> ParsedBody:
        """Return the form's fields, converted to the types of the schema, and its files, which are open.

        Fields that were left empty are dropped. A repeated field that is no array, and a file instead of text in
        a known field, are problems. Raise TransportError 400 for a form that is not well-formed or too complex.
        """
        parser = StrictMultipartParser(headers, stream, max_files=MAX_FILES, is_file=self._is_file)
        try:
            form = await parser.parse()
        except MultiPartException as reason:
            raise TransportError(HTTPStatus.BAD_REQUEST) from reason
        values: dict[str, Any] = {}
        files: dict[str, list[UploadFile]] = {}
        problems: list[FieldProblem] = []
        fields: dict[str, list[UploadFile | str]] = {}
        for sent_name, part in form.multi_items():
            if not _is_empty(part):
                fields.setdefault(self._field_name(sent_name), []).append(part)
        for name, parts in fields.items():
            kind = _FieldKind.of(self._schema.get("properties", {}).get(name))
            if len(parts) > 1 and not kind.many:
                problems.append(FieldProblem(name, "repeated"))
            elif any(isinstance(part, UploadFile) is not kind.file for part in parts) and kind.known:
                problems.append(FieldProblem(name, "text"))
            uploads = [part for part in parts if isinstance(part, UploadFile)]
            if uploads:
                files[name] = uploads
            if not kind.known and (array := self._array_meant(name)):
                problems.append(FieldProblem(name, "unknown_index", {"name": array}))
            elif kind.file:
                # The domain validates the content of files; the schema only counts them.
                values[name] = [""] * len(parts) if kind.many else ""
            else:
                values[name] = value_from_text(parts[0], kind.schema) if isinstance(parts[0], str) else ""
        return self._validate_members(values, files, problems)

    def _field_name(self, sent: str) -> str:
        """Return the field that a client means: ``images``, ``images[]`` and ``images[0]`` are ``images[]``."""
        array = self._array_meant(sent)
        return (
            array
            if array and _INDEX.fullmatch(sent.removeprefix(array.removesuffix(_ARRAY_SUFFIX)) or "[]")
            else sent
        )

    def _array_meant(self, sent: str) -> str | None:
        """Return the array field whose name begins like ``sent``; None if the name is that of another field."""
        properties = self._schema.get("properties", {})
        array = sent.partition("[")[0] + _ARRAY_SUFFIX
        return array if array in properties and sent not in properties.keys() - {array} else None

    def _is_file(self, name: str) -> bool:
        """Return whether the parts of the field with this name are files."""
        return _FieldKind.of(self._schema.get("properties", {}).get(self._field_name(name))).file


@dataclass(frozen=True)
class _FieldKind:
    """The schema's description of a form field."""

    schema: Mapping[str, Any]
    known: bool
    file: bool
    many: bool

    _BINARY: ClassVar = "binary"

    @classmethod
    def of(cls, schema: Mapping[str, Any] | None) -> _FieldKind:
        """Return the kind of a field with this schema.

        None is an unknown field, which may be of any kind and repeated.
        """
        if schema is None:
            return cls({}, known=False, file=False, many=True)
        many = schema.get("type") == "array"
        item = schema["items"] if many else schema
        return cls(schema, known=True, file=item.get("format") == cls._BINARY, many=many)


BODY_VALIDATORS: dict[str, Any] = {
    "application/json": StrictJsonBody,
    "multipart/form-data": StrictFormBody,
}
