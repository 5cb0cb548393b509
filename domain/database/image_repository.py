"""The repository of images, and of how many images each account has in each status."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, text, update

from domain.database import tables
from domain.database.statements import IMAGE_BY_ID, claimable, image_from, job_columns, upsert_into
from domain.job_states import Job, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.engine import Connection

    from domain.records import Image, NewImage, Result


class Images:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._moved: Counter[tuple[int, str]] = Counter()

    def flush_counts(self) -> None:
        """Counts what has come, moved and gone; the last word of a transaction.

        Many need the same few rows, so that they are held for a moment only, and taken in one order.
        """
        moved = [
            {"account_id": account_id, "status": status, "images": images}
            for (account_id, status), images in sorted(self._moved.items())
            if images
        ]
        self._moved.clear()
        if not moved:
            return
        new = upsert_into(self._connection, tables.image_counts).values(moved)
        columns = tables.image_counts.c
        self._connection.execute(
            new.on_conflict_do_update(
                index_elements=["account_id", "status"],
                set_={"images": columns.images + new.excluded.images},
            )
        )

    def add(self, new: NewImage, now: datetime) -> Image:
        row = self._connection.execute(
            insert(tables.images)
            .values(
                account_id=new.account_id,
                original_filename=new.filename,
                original_key=new.original_key,
                original_size=new.original_bytes,
                original_width=new.original_size.width,
                original_height=new.original_size.height,
                image_format=new.image_format.value,
                scale_factor=new.sizing.scale_factor,
                target_width=new.sizing.target_width,
                target_height=new.sizing.target_height,
                api_request=new.api_request,
                quota_month=new.quota_month,
                batch_id=new.batch_id,
                model_choice=new.model_choice,
                progress=0,
                notified_at=now,
                created_at=now,
                updated_at=now,
                **job_columns(Job()),
            )
            .returning(*tables.images.c)
        ).one()
        self._moved[new.account_id, Status.PENDING.value] += 1
        return image_from(row)

    def get(self, image_id: int) -> Image | None:
        row = self._connection.execute(IMAGE_BY_ID, {"image": image_id}).one_or_none()
        return None if row is None else image_from(row)

    def locked(self, image_id: int) -> Image | None:
        """As ``get``, and nobody else changes it before this transaction ends.

        SQLite has only one writer, and needs no more than its BEGIN IMMEDIATE.
        """
        return self._one(select(tables.images).where(tables.images.c.id == image_id).with_for_update())

    def locked_of(self, batch_id: int) -> list[Image]:
        """As ``locked``, all that are left of a batch."""
        rows = self._connection.execute(
            select(tables.images)
            .where(tables.images.c.batch_id == batch_id)
            .order_by(tables.images.c.id)
            .with_for_update()
        )
        return [image_from(row) for row in rows]

    def waiting(self, most: int) -> int:
        """How many are pending; nobody counts beyond ``most``."""
        pending = select(tables.images.c.id).where(text(tables.WAITING))
        return self._connection.execute(
            select(func.count()).select_from(pending.limit(most).subquery())
        ).scalar_one()

    def page(
        self, account_id: int, status: Status | None, *, limit: int, offset: int
    ) -> tuple[list[Image], int]:
        """The newest first, and how many there are in all."""
        counts, columns = tables.image_counts.c, tables.images.c
        condition, counted = [columns.account_id == account_id], [counts.account_id == account_id]
        if status is not None:
            condition.append(columns.status == status.value)
            counted.append(counts.status == status.value)
        total = self._connection.execute(
            select(func.coalesce(func.sum(counts.images), 0)).where(*counted)
        ).scalar_one()
        rows = self._connection.execute(
            select(tables.images)
            .where(*condition)
            .order_by(tables.images.c.created_at.desc(), tables.images.c.id.desc())
            .limit(limit)
            .offset(offset)
        )
        return [image_from(row) for row in rows], int(total)

    def step(
        self,
        image: Image,
        job: Job,
        now: datetime,
        *,
        progress: int | None = None,
        result: Result | None = None,
        error: str | None = None,
    ) -> bool:
        """Takes the row from ``image.job`` to ``job``; False if it is no longer where it was.

        ``updated_at`` speaks of what a client sees, so renewing a lease leaves it alone.
        """
        values: dict[str, Any] = job_columns(job)
        if job.status is not image.status:
            values["updated_at"] = now
        if result is not None:
            values |= {
                "result_key": result.key,
                "result_size": result.bytes,
                "result_width": result.size.width,
                "result_height": result.size.height,
                "processing_seconds": result.seconds,
                "model": result.model,
                "device": result.device,
                "progress": 100,
            }
        if progress is not None:
            values["progress"] = progress
        if error is not None:
            values["error"] = error
        columns = tables.images.c
        lease = image.job.lease_until
        changed = self._connection.execute(
            update(tables.images)
            .where(
                columns.id == image.id,
                columns.status == image.status.value,
                columns.attempt == image.job.attempt,
                columns.lost == image.job.lost,
                columns.lease_until.is_(None) if lease is None else columns.lease_until == lease,
            )
            .values(values)
        )
        if changed.rowcount != 1:
            return False
        self._moved[image.account_id, image.status.value] -= 1
        self._moved[image.account_id, job.status.value] += 1
        return True

    def delete(self, image_id: int) -> None:
        self._delete(tables.images.c.id == image_id)

    def delete_of(self, batch_id: int) -> None:
        self._delete(tables.images.c.batch_id == batch_id)

    def _delete(self, condition: Any) -> None:
        columns = tables.images.c
        gone = self._connection.execute(
            delete(tables.images).where(condition).returning(columns.account_id, columns.status)
        )
        for account_id, status in gone:
            self._moved[account_id, status] -= 1

    def stale_ids(self, *, now: datetime, notified_before: datetime, limit: int) -> list[int]:
        """Ids of images nobody was told of lately, among the ``limit`` that have waited longest.

        Only the head of the line: the others' messages are in the queue behind these, and a second one
        for each, every time, would be all that the queue is busy with.
        """
        columns = tables.images.c
        head = (
            select(columns.id, columns.notified_at)
            .where(*claimable(now))
            .order_by(columns.id)
            .limit(limit)
            .subquery()
        )
        return list(
            self._connection.execute(
                select(head.c.id).where(head.c.notified_at <= notified_before).order_by(head.c.id)
            ).scalars()
        )

    def singles(self, *, now: datetime) -> list[int]:
        """The ids of the images outside of batches that wait, the longest first."""
        columns = tables.images.c
        return list(
            self._connection.execute(
                select(columns.id).where(*claimable(now), columns.batch_id.is_(None)).order_by(columns.id)
            ).scalars()
        )

    def mark_notified(
        self, image_ids: Sequence[int], now: datetime, *, notified_before: datetime
    ) -> set[int]:
        """Notes it for those that still had not been told lately; their ids."""
        columns = tables.images.c
        # One that is held needs no waking; who waited for it with others in hand would be in a deadlock.
        asleep = (
            select(columns.id)
            .where(columns.id.in_(image_ids), columns.notified_at <= notified_before)
            .order_by(columns.id)
            .with_for_update(skip_locked=True)
        )
        return set(
            self._connection.execute(
                update(tables.images)
                .where(columns.id.in_(asleep))
                .values(notified_at=now)
                .returning(columns.id)
            ).scalars()
        )

    def _one(self, statement: Select[Any]) -> Image | None:
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else image_from(row)
