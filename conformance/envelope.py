"""Assertions about the documented form of responses."""

from __future__ import annotations

import re
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conformance.contract import METHODS, operations, response_schema, schema_problems
from conformance.verdicts import CheckFailed, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.client import Response, Transport
    from conformance.exchanges import Exchange

_MAX_SHOWN_PROBLEMS = 5


def expect_documented(response: Response, operation: str, status: int) -> Response:
    """Return the response. Raise CheckFailed unless it has this status and matches its schema.

    ``operation`` is as in ``GET /images/{id}``. Raise ValueError if the contract has no JSON response for it.
    """
    response.expect(status)
    method, _, path = operation.partition(" ")
    schema = response_schema(method, path, status)
    if schema is None:
        raise ValueError(f"The contract has no JSON response {status} for {operation}.")
    return _expect_matches(schema, response)


def expect_error(response: Response, *statuses: int, why: str = "") -> Response:
    """Return the response. Raise CheckFailed unless it has one of the statuses and the form of an error.

    The schema is ValidationErrorResponse for a 422 and ErrorResponse for any other status; ``why`` describes the request.
    """
    response.expect(*statuses, why=why)
    name = (
        "ValidationErrorResponse" if response.status == HTTPStatus.UNPROCESSABLE_ENTITY else "ErrorResponse"
    )
    return _expect_matches(f"/components/schemas/{name}", response)


def expect_field_errors(response: Response, *fields: str) -> Response:
    """Return the response. Raise CheckFailed unless it is a valid 422 that names at least these fields.

    The messages of the errors are not compared.
    """
    expect_error(response, 422)
    missing = [field for field in fields if field not in response.errors]
    expect(
        not missing,
        f"The 422 to {response.request_line} names no error for {' and '.join(missing)}.",
        expected=f"errors under {', '.join(fields)}",
        actual=response.errors,
    )
    return response


def is_nosniff(header: str) -> bool:
    """Return whether an X-Content-Type-Options header is `nosniff`; a server and its proxy may both send it."""
    return {word.strip().lower() for word in header.split(",")} == {"nosniff"}


def may_be_extension(status: int) -> bool:
    """Return whether this status may come from an operation that the server has in addition to the contract."""
    return status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in {401, 404, 405}


def contract_exchanges(transport: Transport) -> Iterator[tuple[str, Exchange]]:
    """Yield request line (``GET /images/7``) and exchange of each operation of the contract so far.

    Include the rejections of other methods on its paths. Leave out exchanges without a response and followed
    links.
    """
    base = urlsplit(transport.base_url).path
    for exchange in transport.exchanges:
        if exchange.status is None or not exchange.url.startswith(f"{transport.base_url}/"):
            continue
        if exchange.url in transport.followed_urls:
            continue
        path = urlsplit(exchange.url).path.removeprefix(base)
        methods = {method for method, route in _routes() if route.fullmatch(path)}
        is_rejected = exchange.method.lower() in METHODS and not may_be_extension(exchange.status)
        if exchange.method in methods or (methods and is_rejected):
            yield f"{exchange.method} {path}", exchange


@cache
def _routes() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return method and path pattern of each operation except extensions; a parameter matches one segment."""
    return tuple((method, re.compile(re.sub(r"\{\w+\}", "[^/]+", path))) for method, path, _ in operations())


def _expect_matches(schema: str, response: Response) -> Response:
    """Return the response.

    Raise CheckFailed, with up to five violations, unless its JSON matches the schema.
    """
    found = schema_problems(schema, response.json)
    if found:
        raise CheckFailed(
            f"The response {response.status} to {response.request_line} does not match its schema: {found[0]}",
            expected=f"{schema} of the contract",
            actual=found[:_MAX_SHOWN_PROBLEMS],
        )
    return response
