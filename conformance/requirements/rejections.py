"""The assertion on a 422 that may name one of several fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.verdicts import expect

if TYPE_CHECKING:
    from conformance.client import Response


def expect_rejected_for_any(response: Response, *fields: str, why: str) -> None:
    """Raise CheckFailed unless the response is a 422 with an error on at least one of the fields."""
    errors = response.expect_rejected(why=why).errors
    expect(
        set(fields) & set(errors),
        f"The 422 to {response.request_line} {why} names neither {' nor '.join(fields)}.",
        expected=fields,
        actual=sorted(errors),
    )
