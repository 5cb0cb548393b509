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
    """Return method and path of each operation of the contract that needs a token, except Uprez's extensions.

    The id in a path is one that no server has assigned.
    """
    return [
        (method, path.replace("{id}", str(UNUSED_ID)))
        for method, path, operation in operations()
        if operation.get("security") != []
    ]


def expect_unauthorized(responses: list[Response], why: str) -> None:
    """Raise CheckFailed unless each response is 401 or 429; ``why`` describes the requests.

    Raise Inconclusive if all are 429, and also without responses.
    """
    for response in responses:
        response.expect(401, 429, why=why)
    if all(response.status == HTTPStatus.TOO_MANY_REQUESTS for response in responses):
        raise Inconclusive(anonymous_limit_message("No request returned 401"))


def expect_revoked(client: Client, when: str) -> None:
    """Send GET /user and raise CheckFailed unless it returns 401; ``when`` follows "with a token".

    Raise Inconclusive if the client has to wait too long.
    """
    client.get("/user").expect(401, why=f"with a token {when}")


def expect_bearer_challenge(response: Response) -> None:
    """Raise CheckFailed unless the WWW-Authenticate header names the scheme Bearer (RFC 6750).

    Case does not matter and other schemes may be named too; the status is not checked.
    """
    header = response.headers.get("www-authenticate", "")
    expect(
        re.search(r"(?i)(^|[\s,])bearer\b", header),
        f"The WWW-Authenticate header of the 401 to {response.request_line} does not name the scheme Bearer.",
        expected="WWW-Authenticate: Bearer",
        actual=header or "no such header",
    )


def comparable_body(response: Response, *ids: int) -> str:
    """Return the JSON body as text, with "…" for its request id and for the ``ids``, which may differ.

    The request id is that of the X-Request-Id header. Raise CheckFailed if the body is not JSON.
    """
    request_id = response.headers.get("x-request-id")
    text = str(response.json)
    if request_id:
        text = text.replace(request_id, "…")
    for requested in ids:
        text = re.sub(rf"\b{requested}\b", "…", text)
    return text


def expect_schema(schema: str, instance: Any, where: str) -> None:
    """Raise CheckFailed unless the instance matches the schema at this pointer of the contract.

    ``where`` names the response in the message.
    """
    found = schema_problems(schema, instance)
    expect(not found, f"The response to {where} does not match its schema: {'; '.join(found)}.", actual=found)


def anonymous_limit_message(what: str) -> str:
    """Return the message for a limit on anonymous requests that is reached."""
    return (
        f"{what}: the server's hourly limit on requests without a valid token is reached (429). "
        "Raise its limit for anonymous requests for the run, or repeat the run in an hour."
    )
