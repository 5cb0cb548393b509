"""What a caller is told who may not: with which status, in which words, and for which operations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from conformance.contract import operations, problems
from conformance.verdicts import Inconclusive, expect

if TYPE_CHECKING:
    from conformance.client import Answer, Client

UNAUTHORIZED, TOO_MANY = 401, 429
NOBODYS = 2_147_000_000  # an id that no server has given out yet


def protected() -> list[tuple[str, str]]:
    return [
        (method, path.replace("{id}", str(NOBODYS)))
        for method, path, operation in operations()
        if operation.get("security")
    ]


def refused(answers: list[Answer], how: str) -> None:
    """Raises Broken if one of them was let in, and Inconclusive if all are 429: that may mean anything."""
    for answer in answers:
        answer.expect(UNAUTHORIZED, TOO_MANY, why=how)
    if all(answer.status == TOO_MANY for answer in answers):
        raise Inconclusive(limit_reached("None of the requests was answered with 401"))


def opens_nothing(client: Client, when: str) -> None:
    """Raises Broken if its token is still taken, and Inconclusive if the server lets nobody ask any more."""
    client.get("/user").expect(UNAUTHORIZED, why=f"with a token {when}")


def names_bearer(answer: Answer) -> None:
    header = answer.headers.get("www-authenticate", "")
    expect(
        re.search(r"(?i)(^|[\s,])bearer\b", header),
        f"The 401 to {answer.asked} does not name, in WWW-Authenticate, the scheme Bearer.",
        expected="WWW-Authenticate: Bearer",
        actual=header or "no such header",
    )


def told(answer: Answer, *ids: int) -> str:
    """The body of an answer without what may differ: the id of the request, and ``ids`` that were asked for."""
    request_id = answer.headers.get("x-request-id")
    text = str(answer.json)
    if request_id:
        text = text.replace(request_id, "…")
    for asked in ids:
        text = re.sub(rf"\b{asked}\b", "…", text)
    return text


def is_documented(schema: str, instance: Any, where: str) -> None:
    found = problems(schema, instance)
    expect(not found, f"The answer to {where} is not as documented: {'; '.join(found)}.", actual=found)


def limit_reached(what: str) -> str:
    return (
        f"{what}: the server has had enough requests without a valid token for this hour (429). "
        "Raise its limit for callers without a token for the run, or come back in an hour."
    )
