"""Assertions about requests that a server has to deny, and the operations that need a token."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.contract import operations, schema_problems
from conformance.verdicts import Inconclusive, expect

if TYPE_CHECKING:
    from conformance.client import Client, Response

UNUSED_ID = 2_147_000_000  # larger than any id that a server has assigned


def protected_operations() -> list[tuple[str, str]]:
    """Return method and path of each operation that needs a token."""
    return [
        (method, path.replace("{id}", str(UNUSED_ID)))
        for method, path, operation in operations()
        if operation.get("security")
    ]


def expect_unauthorized(responses: list[Response], why: str) -> None:
    """Raise CheckFailed unless all are 401 or 429, and Inconclusive if all are 429."""
    for response in responses:
        response.expect(401, 429, why=why)
    if all(response.status == HTTPStatus.TOO_MANY_REQUESTS for response in responses):
        raise Inconclusive(anonymous_limit_message("No request returned 401"))


def expect_revoked(client: Client, when: str) -> None:
    """Raise CheckFailed if the server still accepts the client's token."""
    client.get("/user").expect(401, why=f"with a token {when}")


def expect_bearer_challenge(response: Response) -> None:
    """Raise CheckFailed unless the WWW-Authenticate header names the scheme Bearer (RFC 6750)."""
    header = response.headers.get("www-authenticate", "")
    expect(
        re.search(r"(?i)(^|[\s,])bearer\b", header),
        f"The WWW-Authenticate header of the 401 to {response.request_line} does not name the scheme Bearer.",
        expected="WWW-Authenticate: Bearer",
        actual=header or "no such header",
    )


def comparable_body(response: Response, *ids: int) -> str:
    """Return the body without its request id and without the requested ``ids``, which may differ."""
    request_id = response.headers.get("x-request-id")
    text = str(response.json)
    if request_id:
        text = text.replace(request_id, "…")
    for requested in ids:
        text = re.sub(rf"\b{requested}\b", "…", text)
    return text


def expect_schema(schema: str, instance: Any, where: str) -> None:
    """Raise CheckFailed unless the instance matches the schema of the contract."""
    found = schema_problems(schema, instance)
    expect(not found, f"The response to {where} does not match its schema: {'; '.join(found)}.", actual=found)


def anonymous_limit_message(what: str) -> str:
    """Return the message for a limit on anonymous requests that is reached."""
    return (
        f"{what}: the server's hourly limit on requests without a valid token is reached (429). "
        "Raise its limit for anonymous requests for the run, or repeat the run in an hour."
    )
