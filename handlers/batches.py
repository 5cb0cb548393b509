"""Operations of /batches: submit, list, get, cancel and delete batches."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from domain import batches
from domain.batch_states import BatchStatus
from handlers import shapes
from handlers.headers import location, poll_headers
from handlers.paging import ALL, paged
from handlers.request import origin, parsed_body, principal, services, uploads, upscale_options
from handlers.transport.envelope import Body, success

if TYPE_CHECKING:
    from collections.abc import Mapping


def create_batch() -> tuple[Body, int, Mapping[str, str]]:
    """Create a batch of all uploaded images, or of none, queue them, and respond with 202.

    Raise InvalidFields, QuotaExceeded and Unavailable, as ``batches.submit`` does.
    """
    sent = parsed_body()
    batch = batches.submit(
        services(),
        principal().account,
        uploads("images[]"),
        upscale_options(),
        sent.fields.get("name"),
        sent.problems,
    )
    body = success("Batch created and images queued for processing", shapes.accepted_batch(batch))
    return (
        body,
        HTTPStatus.ACCEPTED,
        {**location(f"/batches/{batch.batch.id}"), **poll_headers(finished=False)},
    )


def list_batches(page: int, per_page: int, status: str) -> Body:
    """Respond with one page of the account's batches, the newest first; ``status`` can be ``all``."""
    wanted = None if status == ALL else BatchStatus(status)
    listed = batches.list_page(services(), principal().account, wanted, page, per_page)
    shown = [shapes.batch(services(), origin(), batch) for batch in listed.batches]
    return paged("Batches retrieved successfully", shown, listed.total, page, per_page)


def get_batch(id: int) -> tuple[Body, Mapping[str, str]]:  # noqa: A002  # the contract's name, as below
    """Respond with one batch."""
    batch = batches.get(services(), principal().account, id)
    body = success("Batch retrieved successfully", shapes.batch(services(), origin(), batch))
    return body, poll_headers(finished=batch.batch.state.status.is_terminal)


def delete_batch(id: int) -> Body:  # noqa: A002
    """Cancel a batch that is running, delete one that has ended."""
    deleted = batches.remove(services(), principal().account, id)
    return success("Batch deleted successfully" if deleted else "Batch cancelled successfully")
