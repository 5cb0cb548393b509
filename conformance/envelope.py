"""Answers held against the shapes that the contract gives them."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conformance.contract import METHODS, operations, problems, response_schema
from conformance.verdicts import Broken, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.client import Answer, Transport
    from conformance.exchanges import Exchange

UNPROCESSABLE = 422
_SHOWN_PROBLEMS = 5


def expect_documented(answer: Answer, operation: str, status: int) -> Answer:
    """Itself. Raises Broken unless it is what ``operation`` (``GET /images/{id}``) answers with this status."""
    answer.expect(status)
    method, _, path = operation.partition(" ")
    schema = response_schema(method, path, status)
    if schema is None:
        raise ValueError(f"The contract has no JSON for {operation} {status}.")
    return _expect_of(schema, answer)


def expect_error(answer: Answer, *statuses: int, why: str = "") -> Answer:
    """Itself. Raises Broken unless it is an error in the envelope, with one of these statuses."""
    answer.expect(*statuses, why=why)
    name = "ValidationError" if answer.status == UNPROCESSABLE else "Error"
    return _expect_of(f"/components/schemas/{name}", answer)


def expect_wrong(answer: Answer, *fields: str) -> Answer:
    """Itself. Raises Broken unless it is a 422 that names at least these fields."""
    expect_error(answer, UNPROCESSABLE)
    missing = [field for field in fields if field not in answer.errors]
    expect(
        not missing,
        f"The answer 422 to {answer.asked} does not name what is wrong with {' and '.join(missing)}.",
        expected=f"errors under {', '.join(fields)}",
        actual=answer.errors,
    )
    return answer


def guesses_at_nothing(said: str) -> bool:
    """Whether an X-Content-Type-Options is `nosniff`; a server and what stands in front of it may both say so."""
    return {word.strip().lower() for word in said.split(",")} == {"nosniff"}


def might_be_another_operation(status: int) -> bool:
    """Whether it is an answer of an operation that the contract does not have: a server may have more of them."""
    return status < 500 and status not in {401, 404, 405}  # noqa: PLR2004


def answers_of_the_contract(transport: Transport) -> Iterator[tuple[str, Exchange]]:
    """Those that the run has seen so far, each with what was asked (``GET /images/7``).

    Of documented operations, and of documented paths that refuse another method.
    """
    base = urlsplit(transport.base_url).path
    for exchange in transport.exchanges:
        parts = urlsplit(exchange.url)
        if exchange.status is None or not exchange.url.startswith(f"{transport.base_url}/"):
            continue
        if exchange.url in transport.followed:
            continue
        path = parts.path.removeprefix(base)
        methods = {method for method, route in _routes() if route.fullmatch(path)}
        is_refused = exchange.method.lower() in METHODS and not might_be_another_operation(exchange.status)
        if exchange.method in methods or (methods and is_refused):
            yield f"{exchange.method} {path}", exchange


@cache
def _routes() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((method, re.compile(re.sub(r"\{\w+\}", "[^/]+", path))) for method, path, _ in operations())


def _expect_of(schema: str, answer: Answer) -> Answer:
    found = problems(schema, answer.json)
    if found:
        raise Broken(
            f"The answer {answer.status} to {answer.asked} is not of its documented shape: {found[0]}",
            expected=f"{schema} of the contract",
            actual=found[:_SHOWN_PROBLEMS],
        )
    return answer
