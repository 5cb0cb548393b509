"""/batches: submit many images at once, follow them, cancel or delete them."""

from __future__ import annotations

from domain import batches
from domain.batch_states import BatchStatus
from handlers import shapes
from handlers.paging import paged
from handlers.request import origin, principal, services, submitted, uploads, upscale_options
from handlers.transport.envelope import Body, success


def create_batch() -> tuple[Body, int]:
    form = submitted()
    batch = batches.submit(
        services(),
        principal().account,
        uploads("images[]"),
        upscale_options(),
        form.fields.get("name"),
        form.problems,
    )
    return success("Batch created and images queued for processing", shapes.accepted_batch(batch)), 202


def list_batches(page: int, per_page: int, status: str | None = None) -> Body:
    wanted = None if status is None else BatchStatus(status)
    found = batches.list_page(services(), principal().account, wanted, page, per_page)
    shown = [shapes.batch(services(), origin(), batch) for batch in found.batches]
    filters = {} if status is None else {"status": status}
    return paged("Batches retrieved successfully", shown, found.total, page, per_page, filters)


def get_batch(id: int) -> Body:  # noqa: A002  # the contract's name, as below
    batch = batches.get(services(), principal().account, id)
    return success("Batch retrieved successfully", shapes.batch(services(), origin(), batch))


def delete_batch(id: int) -> Body:  # noqa: A002
    gone = batches.remove(services(), principal().account, id)
    return success("Batch deleted successfully" if gone else "Batch cancelled successfully")
