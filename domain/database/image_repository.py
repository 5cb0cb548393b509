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
    """The images and image_counts tables within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._count_changes: Counter[tuple[int, str]] = Counter()

    def flush_counts(self) -> None:
        """Write the changes of the image counts; call it immediately before the commit.

        Many transactions change the same few rows. Writing them last keeps their locks short, and writing
        them in a fixed order prevents deadlocks.
        """
        changes = [
            {"account_id": account_id, "status": status, "images": images}
            for (account_id, status), images in sorted(self._count_changes.items())
            if images
        ]
        self._count_changes.clear()
        if not changes:
            return
        new = upsert_into(self._connection, tables.image_counts).values(changes)
        columns = tables.image_counts.c
        self._connection.execute(
            new.on_conflict_do_update(
                index_elements=["account_id", "status"],
                set_={"images": columns.images + new.excluded.images},
            )
        )

    def add(self, new: NewImage, now: datetime) -> Image:
        """Insert a pending image, which counts as notified ``now``, and return it."""
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
        self._count_changes[new.account_id, Status.PENDING.value] += 1
        return image_from(row)

    def get(self, image_id: int) -> Image | None:
        """Return the image, or None."""
        row = self._connection.execute(IMAGE_BY_ID, {"image": image_id}).one_or_none()
        return None if row is None else image_from(row)

    def locked(self, image_id: int) -> Image | None:
        """Return the image, or None, and lock its row until the end of the transaction.

        SQLite ignores the lock: it has only one writer, which BEGIN IMMEDIATE selects.
        """
        return self._one(select(tables.images).where(tables.images.c.id == image_id).with_for_update())

    def locked_of(self, batch_id: int) -> list[Image]:
        """Return the images of the batch by id and lock their rows until the end of the transaction."""
        rows = self._connection.execute(
            select(tables.images)
            .where(tables.images.c.batch_id == batch_id)
            .order_by(tables.images.c.id)
            .with_for_update()
        )
        return [image_from(row) for row in rows]

    def count_pending(self, limit: int) -> int:
        """Return the number of pending images, at most ``limit``: counting stops there."""
        pending = select(tables.images.c.id).where(text(tables.PENDING))
        return self._connection.execute(
            select(func.count()).select_from(pending.limit(limit).subquery())
        ).scalar_one()

    def page(
        self, account_id: int, status: Status | None, *, limit: int, offset: int
    ) -> tuple[list[Image], int]:
        """Return a page of the account's images, the newest first, and the number on all pages.

        ``status`` None means all. The number is read from image_counts, without changes that are not flushed
        yet.
        """
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
        """Change the row's job from ``image.job`` to ``job`` and return True.

        Return False, without a change, if the row has another job now or is deleted. ``progress``, ``result`` and
        ``error`` are kept if None; a result sets the progress to 100 unless ``progress`` is given. ``updated_at`` is the
        time of the last change of the status: renewing a lease keeps it, also if the progress changes.
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
        self._count_changes[image.account_id, image.status.value] -= 1
        self._count_changes[image.account_id, job.status.value] += 1
        return True

    def delete(self, image_id: int) -> None:
        """Delete the image if it exists."""
        self._delete(tables.images.c.id == image_id)

    def delete_of_batch(self, batch_id: int) -> None:
        """Delete every image of the batch."""
        self._delete(tables.images.c.batch_id == batch_id)

    def stale_ids(self, *, now: datetime, notified_before: datetime, limit: int) -> list[int]:
        """Return, of the ``limit`` oldest claimable images, the ids of those with no notification since a
        time.

        Only the oldest are read: the messages of the others are in the queue behind these, and repeating all
        of them in every period would fill the queue.
        """
        columns = tables.images.c
        oldest = (
            select(columns.id, columns.notified_at)
            .where(*claimable(now))
            .order_by(columns.id)
            .limit(limit)
            .subquery()
        )
        return list(
            self._connection.execute(
                select(oldest.c.id).where(oldest.c.notified_at <= notified_before).order_by(oldest.c.id)
            ).scalars()
        )

    def claimable_single_ids(self, *, now: datetime) -> list[int]:
        """Return the ids of the claimable images that are in no batch, the oldest first."""
        columns = tables.images.c
        return list(
            self._connection.execute(
                select(columns.id).where(*claimable(now), columns.batch_id.is_(None)).order_by(columns.id)
            ).scalars()
        )

    def mark_notified(
        self, image_ids: Sequence[int], now: datetime, *, notified_before: datetime
    ) -> set[int]:
        """Set the time of the last notification and return the ids of the images that were changed.

        An image that was notified meanwhile, or that another transaction has locked, is skipped.
        """
        columns = tables.images.c
        # A locked image needs no notification, and waiting for it while holding others could be a deadlock.
        stale = (
            select(columns.id)
            .where(columns.id.in_(image_ids), columns.notified_at <= notified_before)
            .order_by(columns.id)
            .with_for_update(skip_locked=True)
        )
        return set(
            self._connection.execute(
                update(tables.images)
                .where(columns.id.in_(stale))
                .values(notified_at=now)
                .returning(columns.id)
            ).scalars()
        )

    def _delete(self, condition: Any) -> None:
        """Delete the images that match, and reduce the counts of their accounts and statuses."""
        columns = tables.images.c
        deleted = self._connection.execute(
            delete(tables.images).where(condition).returning(columns.account_id, columns.status)
        )
        for account_id, status in deleted:
            self._count_changes[account_id, status] -= 1

    def _one(self, statement: Select[Any]) -> Image | None:
        """Return the image of the only row; None without one. Raise MultipleResultsFound for several."""
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else image_from(row)
