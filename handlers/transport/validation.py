"""Parameters and bodies against the contract: strict in form, and every field's problem at once.

The validators refuse only what cannot be read (400). What can be read and is wrong is noted, so that
the domain adds its own findings and the client hears everything in one 422.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl

from connexion.json_schema import Draft4RequestValidator
from connexion.validators import JSONRequestBodyValidator, MultiPartFormDataValidator, ParameterValidator
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from domain.errors import FieldProblem, InvalidFields, NotFound
from handlers.transport import strict_json
from handlers.transport.envelope import TransportError
from handlers.transport.schema_problems import WHOLE_BODY, object_problems, value_problems

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from starlette.datastructures import FormData
    from starlette.types import Receive, Scope

SUBMITTED = "uprez_submitted"
QUERY = "uprez_query"
"""Where the request's context has the values of the query's parameters, and the contract's defaults."""
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_OF_LENGTH = {"min_characters", "max_characters"}
_KEPT_FILES = 32
"""Of one form: more than any operation takes, few enough to be kept open."""
_MAX_FILES = 1000
"""In one form: beyond those that are kept they are only counted, so that the answer names their field."""
_MAX_TEXT_BYTES = 64 * 1024
"""Of all texts in one form, which are kept in memory: as much as a JSON body may have."""
_MANY = "[]"
"""Ends the name of a form field that takes several values; its problems are reported without it."""


@dataclass(frozen=True)
class Submitted:
    """``fields`` and ``files`` are in order by the schema; what is not is in ``problems`` instead.

    Text of a wrong length is in both, because more may be wrong with it.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, list[UploadFile]] = field(default_factory=dict)
    problems: list[FieldProblem] = field(default_factory=list)
    all_files: Mapping[str, list[UploadFile]] = field(default_factory=dict)  # to be closed in the end


class StrictParameters(ParameterValidator):  # type: ignore[misc]  # Connexion is untyped
    def validate(self, scope: Scope) -> None:
        """Raises NotFound for a path that no resource can have, InvalidFields for the query."""
        values = scope["path_params"]
        # Each parameter is a segment of its own. An id with zeros before it was read and stands there differently.
        segments = scope["path"].split("/")
        for value in map(str, values.values()):
            if value not in segments:
                raise NotFound
            segments.remove(value)
        for parameter in self.parameters.get("path", []):
            name = parameter["name"]
            if value_problems(_validator(parameter["schema"]), name, values[name]):
                raise NotFound
        scope["extensions"]["connexion_context"][QUERY] = self._query(scope["query_string"])

    def _query(self, query_string: bytes) -> dict[str, Any]:
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
        query: dict[str, Any] = {}
        problems: list[FieldProblem] = []
        for parameter in self.parameters.get("query", []):
            name, schema = parameter["name"], parameter["schema"]
            values = [value for key, value in pairs if key == name]
            if len(values) > 1:
                problems.append(FieldProblem(name, "repeated"))
            elif values:
                query[name] = from_text(values[0], schema)
                problems += value_problems(_validator(schema), name, query[name])
            elif parameter.get("required"):
                problems.append(FieldProblem(name, "required"))
            elif "default" in schema:
                query[name] = schema["default"]
        if problems:
            raise InvalidFields(problems)
        return query


class _CollectingBodyValidator:
    """Puts the body where handlers look for it, and hands the application an empty one."""

    _schema: dict[str, Any]

    async def wrap_receive(self, receive: Receive, *, scope: Scope) -> tuple[Receive, Scope]:
        async def stream() -> AsyncGenerator[bytes, None]:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise TransportError(400)
                more = message.get("more_body", False)
                yield message.get("body", b"")

        context = scope["extensions"].setdefault("connexion_context", {})
        context[SUBMITTED] = await self.submitted(stream(), Headers(scope=scope))
        return _nothing, {**scope, "headers": _without_body(scope["headers"])}

    async def submitted(self, stream: AsyncGenerator[bytes, None], headers: Headers) -> Submitted:
        raise NotImplementedError

    def _sort_out(
        self, members: Mapping[str, Any], files: Mapping[str, list[UploadFile]], found: Iterable[FieldProblem]
    ) -> Submitted:
        problems = [*found, *object_problems(_validator(self._schema), members)]
        wrong = {problem.field for problem in problems if problem.rule not in _OF_LENGTH}
        return Submitted(
            fields={
                name: value for name, value in members.items() if name not in wrong and name not in files
            },
            files={name: uploads for name, uploads in files.items() if name not in wrong},
            problems=[self._as_reported(problem) for problem in problems],
            all_files=files,
        )

    def _as_reported(self, problem: FieldProblem) -> FieldProblem:
        known = problem.field in self._schema.get("properties", {})
        return replace(problem, field=problem.field.removesuffix(_MANY)) if known else problem


class StrictJsonBody(_CollectingBodyValidator, JSONRequestBodyValidator):  # type: ignore[misc]
    async def submitted(self, stream: AsyncGenerator[bytes, None], headers: Headers) -> Submitted:  # noqa: ARG002
        try:
            body = strict_json.decode(b"".join([chunk async for chunk in stream]))
        except strict_json.MalformedJson as reason:
            raise TransportError(400) from reason
        if not isinstance(body, dict):
            return Submitted(problems=[FieldProblem(WHOLE_BODY, "object")])
        return self._sort_out(body, {}, [])


class _OneTooMany(UploadFile):
    """A file that is counted and not kept."""

    async def write(self, data: bytes) -> None:
        self.size = (self.size or 0) + len(data)


class _StrictMultipart(MultiPartParser):
    """Starlette's parser, strict where it forgives: text is UTF-8, and a form that does not end was cut off."""

    # A file part stays in memory up to this size, for as long as its request takes to arrive: with Starlette's
    # megabyte and its thousand parts, a few slow clients would hold gigabytes.
    spool_max_size = 64 * 1024

    _text_bytes = 0
    _ended = False

    @property
    def _charset(self) -> str:
        # Never the client's choice (RFC 7578, 4.6): some of Python's codecs crash, or make what no JSON holds.
        return "utf-8"

    @_charset.setter
    def _charset(self, _chosen_by_client: str) -> None:
        pass

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        file = self._current_part.file
        if file is not None and self._current_files > _KEPT_FILES:
            self._current_part.file = _OneTooMany(file.file, size=0, filename=file.filename)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._text_bytes += end - start
            if self._text_bytes > _MAX_TEXT_BYTES:
                raise MultiPartException("The texts of the form are too large.")
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        if self._current_part.file is None:
            _check_utf8(self._current_part.data)
        super().on_part_end()

    def on_end(self) -> None:
        self._ended = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._ended:
            await form.close()
            raise MultiPartException("The form has no end.")
        return form


def _check_utf8(text: bytearray) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as reason:
        raise MultiPartException("A field is not in UTF-8.") from reason


class SpooledForm(_CollectingBodyValidator, MultiPartFormDataValidator):  # type: ignore[misc]
    """Reads the stream once; each file goes to disk as it comes."""

    async def submitted(self, stream: AsyncGenerator[bytes, None], headers: Headers) -> Submitted:
        try:
            form = await _StrictMultipart(headers, stream, max_files=_MAX_FILES).parse()
        except MultiPartException as reason:
            raise TransportError(400) from reason
        values: dict[str, Any] = {}
        files: dict[str, list[UploadFile]] = {}
        problems: list[FieldProblem] = []
        for name in form:
            kind = _Kind.of(self._schema.get("properties", {}).get(name))
            parts = [part for part in form.getlist(name) if not _is_empty(part)]
            if not parts:
                continue
            if len(parts) > 1 and not kind.many:
                problems.append(FieldProblem(name, "repeated"))
            elif any(isinstance(part, UploadFile) is not kind.file for part in parts) and kind.known:
                problems.append(FieldProblem(name, "file" if kind.file else "text"))
            uploads = [part for part in parts if isinstance(part, UploadFile)]
            if uploads:
                files[name] = uploads
            if kind.file:
                # What is in the files is for the domain; the schema only counts them.
                values[name] = [""] * len(parts) if kind.many else ""
            else:
                values[name] = from_text(parts[0], kind.schema) if isinstance(parts[0], str) else ""
        return self._sort_out(values, files, problems)


@dataclass(frozen=True)
class _Kind:
    """What the schema says a form field is."""

    schema: Mapping[str, Any]
    known: bool
    file: bool
    many: bool

    _BINARY: ClassVar = "binary"

    @classmethod
    def of(cls, schema: Mapping[str, Any] | None) -> _Kind:
        if schema is None:
            return cls({}, known=False, file=False, many=True)
        many = schema.get("type") == "array"
        item = schema["items"] if many else schema
        return cls(schema, known=True, file=item.get("format") == cls._BINARY, many=many)


def from_text(text: str, schema: Mapping[str, Any]) -> Any:
    """The value that the text of a form field or query parameter stands for.

    Only the plain decimal form is an integer; everything else stays text and fails its schema.
    """
    if schema.get("type") == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    return text


def _is_empty(part: UploadFile | str) -> bool:
    """A field left empty in a browser's form: as good as not there."""
    if isinstance(part, UploadFile):
        return not part.filename and not part.size
    return not part


_validators: dict[int, tuple[Mapping[str, Any], Any]] = {}
"""By the schema's identity, which the schema beside it keeps from being another's."""


def _validator(schema: Mapping[str, Any]) -> Any:
    # There are as many as the contract has; making one costs more than most values that it is for.
    known = _validators.get(id(schema))
    if known is None:
        known = _validators[id(schema)] = (schema, Draft4RequestValidator(schema))
    return known[1]


def _without_body(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    about_body = {b"content-length", b"content-type", b"transfer-encoding"}
    return [header for header in headers if header[0] not in about_body] + [(b"content-length", b"0")]


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


BODY_VALIDATORS: dict[str, Any] = {"application/json": StrictJsonBody, "multipart/form-data": SpooledForm}
