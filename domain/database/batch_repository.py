"""The repository of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from domain.database import tables
from domain.database.statements import batch_columns, batch_from, image_from, split_row
from domain.records import BatchWithImages

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.engine import Connection

    from domain.batch_states import BatchState, BatchStatus
    from domain.records import Batch
    from domain.sizing import Sizing


class Batches:
    """The batches table within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, *, account_id: int, name: str | None, sizing: Sizing, state: BatchState, now: datetime
    ) -> Batch:
        """Insert a batch without images and return it; ``state.total`` never changes afterwards."""
        row = self._connection.execute(
            insert(tables.batches)
            .values(
                account_id=account_id,
                name=name,
                total_images=state.total,
                scale_factor=sizing.scale_factor,
                target_width=sizing.target_width,
                target_height=sizing.target_height,
                created_at=now,
                updated_at=now,
                **batch_columns(state),
            )
            .returning(*tables.batches.c)
        ).one()
        return batch_from(row)

    def get(self, batch_id: int) -> BatchWithImages | None:
        """Return the batch with its images, or None."""
        found = self._with_images(select(tables.batches).where(tables.batches.c.id == batch_id))
        return found[0] if found else None

    def locked(self, batch_id: int | None) -> Batch | None:
        """Return the batch and lock its row until the end of the transaction; return None for None.

        A transaction that changes an image and its batch's counters locks the batch first, then the image.
        """
        if batch_id is None:
            return None
        row = self._connection.execute(
            select(tables.batches).where(tables.batches.c.id == batch_id).with_for_update()
        ).one_or_none()
        return None if row is None else batch_from(row)

    def page(
        self, account_id: int, status: BatchStatus | None, *, limit: int, offset: int
    ) -> tuple[list[BatchWithImages], int]:
        """Return a page of the account's batches, the newest first, and the number of batches on all pages.

        ``status`` None means all.
        """
        condition = [tables.batches.c.account_id == account_id]
        if status is not None:
            condition.append(tables.batches.c.status == status.value)
        total = self._connection.execute(select(func.count()).where(*condition)).scalar_one()
        chosen = (
            select(tables.batches)
            .where(*condition)
            .order_by(tables.batches.c.created_at.desc(), tables.batches.c.id.desc())
            .limit(limit)
            .offset(offset)
        )
        return self._with_images(chosen), total

    def step(self, batch: Batch, state: BatchState, now: datetime) -> None:
        """Change the state of a locked batch, and set ``completed_at`` if the new state is terminal.

        Nothing is written, not even ``updated_at``, if the state is the same.
        """
        if state == batch.state:
            return
        self._connection.execute(
            update(tables.batches)
            .where(tables.batches.c.id == batch.id)
            .values(
                updated_at=now, completed_at=now if state.status.is_terminal else None, **batch_columns(state)
            )
        )

    def delete(self, batch_id: int) -> None:
        """Delete the batch, but not its images."""
        self._connection.execute(delete(tables.batches).where(tables.batches.c.id == batch_id))

    def _with_images(self, chosen: Select[Any]) -> list[BatchWithImages]:
        """Return the selected batches, the newest first, each with its images by id; the list may be empty.

        One statement reads both, so that the batch's counters and its images are consistent.
        """
        batches = chosen.subquery()
        rows = self._connection.execute(
            select(batches, tables.images)
            .outerjoin(tables.images, tables.images.c.batch_id == batches.c.id)
            .order_by(batches.c.created_at.desc(), batches.c.id.desc(), tables.images.c.id)
        )
        found: dict[int, BatchWithImages] = {}
        for row in rows:
            batch, image = split_row(row, batches, tables.images)
            entry = found.setdefault(batch.id, BatchWithImages(batch_from(batch), []))
            if image.id is not None:
                entry.images.append(image_from(image))
        return list(found.values())
