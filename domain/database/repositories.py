"""Rows in, records out; each class speaks one table within a transaction that somebody else holds."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from domain.batch_states import BatchState, BatchStatus
from domain.database import tables
from domain.errors import EmailTaken
from domain.formats import ImageFormat
from domain.job_states import Job, Status
from domain.records import (
    Account,
    Batch,
    Image,
    NewImage,
    Result,
    Subscription,
    SubscriptionStatus,
    Token,
    WholeBatch,
)
from domain.sizing import Size, Sizing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, FromClause, Select, Table, TextClause
    from sqlalchemy.engine import Connection, Row

# Every request asks these. To put a statement together takes longer than to run it.
_TOKEN_WITH_ACCOUNT = (
    select(tables.tokens, tables.accounts, tables.subscriptions, tables.quota_usage.c.used)
    .join(tables.accounts, tables.accounts.c.id == tables.tokens.c.account_id)
    .outerjoin(tables.subscriptions, tables.subscriptions.c.account_id == tables.accounts.c.id)
    .outerjoin(
        tables.quota_usage,
        and_(
            tables.quota_usage.c.account_id == tables.accounts.c.id,
            tables.quota_usage.c.month == bindparam("month"),
        ),
    )
    .where(tables.tokens.c.id == bindparam("token"))
)
_IMAGE = select(tables.images).where(tables.images.c.id == bindparam("image"))


class Accounts:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        *,
        name: str,
        email: str,
        password_hash: str,
        plan: str,
        verified_at: datetime | None,
        now: datetime,
    ) -> Account:
        """Raise EmailTaken when another account has the address."""
        try:
            row = self._connection.execute(
                insert(tables.accounts)
                .values(
                    name=name,
                    email=email,
                    password_hash=password_hash,
                    plan=plan,
                    email_verified_at=verified_at,
                    created_at=now,
                    updated_at=now,
                )
                .returning(*tables.accounts.c)
            ).one()
        except IntegrityError:
            raise EmailTaken from None
        return _account(row, None)

    def get(self, account_id: int) -> Account | None:
        return self._one(tables.accounts.c.id == account_id)

    def lock(self, account_id: int) -> None:
        """Whoever else gives out or ends tokens of this account waits until this transaction ends.

        SQLite has only one writer, and needs no more than its BEGIN IMMEDIATE.
        """
        self._connection.execute(
            select(tables.accounts.c.id).where(tables.accounts.c.id == account_id).with_for_update()
        )

    def by_email(self, email: str) -> Account | None:
        return self._one(tables.accounts.c.email == email)

    def count(self) -> int:
        return self._connection.execute(select(func.count()).select_from(tables.accounts)).scalar_one()

    def verify_email(self, account_id: int, now: datetime) -> None:
        self._connection.execute(
            update(tables.accounts)
            .where(tables.accounts.c.id == account_id, tables.accounts.c.email_verified_at.is_(None))
            .values(email_verified_at=now, updated_at=now)
        )

    def set_password(self, account_id: int, password_hash: str, now: datetime) -> None:
        self._set(account_id, password_hash=password_hash, updated_at=now)

    def set_plan(self, account_id: int, plan: str, now: datetime) -> None:
        self._set(account_id, plan=plan, updated_at=now)

    def set_images_per_month(self, account_id: int, images: int | None, now: datetime) -> None:
        self._set(account_id, images_per_month=images, updated_at=now)

    def count_by_plan(self) -> dict[str, int]:
        """How many accounts each plan has that anybody is on."""
        plan = tables.accounts.c.plan
        rows = self._connection.execute(select(plan, func.count()).group_by(plan).order_by(plan))
        return {row[0]: row[1] for row in rows}

    def _set(self, account_id: int, **values: Any) -> None:
        self._connection.execute(
            update(tables.accounts).where(tables.accounts.c.id == account_id).values(values)
        )

    def _one(self, condition: Any) -> Account | None:
        row = self._connection.execute(
            select(tables.accounts, tables.subscriptions)
            .outerjoin(tables.subscriptions, tables.subscriptions.c.account_id == tables.accounts.c.id)
            .where(condition)
        ).one_or_none()
        if row is None:
            return None
        account, subscription = _split(row, tables.accounts, tables.subscriptions)
        return _account(account, subscription)


class Subscriptions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(
        self,
        account_id: int,
        status: SubscriptionStatus,
        *,
        trial_ends_at: datetime | None = None,
        ends_at: datetime | None = None,
        now: datetime,
    ) -> Subscription:
        """The account's one subscription: made if there is none, otherwise changed."""
        says = {"status": status.value, "trial_ends_at": trial_ends_at, "ends_at": ends_at}
        row = _insert_into(self._connection, tables.subscriptions).values(
            account_id=account_id, created_at=now, **says
        )
        put = row.on_conflict_do_update(index_elements=["account_id"], set_=says)
        return _subscription(self._connection.execute(put.returning(*tables.subscriptions.c)).one())


class Tokens:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, *, account_id: int, name: str, secret_sha256: str, abilities: Sequence[str], now: datetime
    ) -> Token:
        row = self._connection.execute(
            insert(tables.tokens)
            .values(
                account_id=account_id,
                name=name,
                secret_sha256=secret_sha256,
                abilities=list(abilities),
                created_at=now,
            )
            .returning(*tables.tokens.c)
        ).one()
        return _token(row)

    def with_account(self, token_id: int, month: str = "") -> tuple[Token, Account, int] | None:
        """And how much of the quota of ``month`` the account has used."""
        row = self._connection.execute(_TOKEN_WITH_ACCOUNT, {"token": token_id, "month": month}).one_or_none()
        if row is None:
            return None
        *columns, used = row
        token, account, subscription = _split(columns, tables.tokens, tables.accounts, tables.subscriptions)
        return _token(token), _account(account, subscription), used or 0

    def of_account(self, account_id: int) -> list[Token]:
        """The newest first."""
        rows = self._connection.execute(
            select(tables.tokens)
            .where(tables.tokens.c.account_id == account_id)
            .order_by(tables.tokens.c.created_at.desc(), tables.tokens.c.id.desc())
        )
        return [_token(row) for row in rows]

    def touch(self, token_id: int, now: datetime) -> None:
        self._connection.execute(
            update(tables.tokens).where(tables.tokens.c.id == token_id).values(last_used_at=now)
        )

    def delete(self, token_id: int) -> None:
        self._connection.execute(delete(tables.tokens).where(tables.tokens.c.id == token_id))

    def delete_of(self, account_id: int, token_id: int) -> bool:
        """False if the account has no such token."""
        deleted = self._connection.execute(
            delete(tables.tokens)
            .where(tables.tokens.c.id == token_id, tables.tokens.c.account_id == account_id)
            .returning(tables.tokens.c.id)
        )
        return deleted.one_or_none() is not None

    def delete_all(self, account_id: int) -> None:
        self._connection.execute(delete(tables.tokens).where(tables.tokens.c.account_id == account_id))


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
        new = _insert_into(self._connection, tables.image_counts).values(moved)
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
                **_job_columns(Job()),
            )
            .returning(*tables.images.c)
        ).one()
        self._moved[new.account_id, Status.PENDING.value] += 1
        return _image(row)

    def get(self, image_id: int) -> Image | None:
        row = self._connection.execute(_IMAGE, {"image": image_id}).one_or_none()
        return None if row is None else _image(row)

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
        return [_image(row) for row in rows]

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
        return [_image(row) for row in rows], int(total)

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
        values: dict[str, Any] = _job_columns(job)
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
            .where(*_claimable(now))
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
                select(columns.id).where(*_claimable(now), columns.batch_id.is_(None)).order_by(columns.id)
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
        return None if row is None else _image(row)


class Batches:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, *, account_id: int, name: str | None, sizing: Sizing, state: BatchState, now: datetime
    ) -> Batch:
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
                **_batch_columns(state),
            )
            .returning(*tables.batches.c)
        ).one()
        return _batch(row)

    def get(self, batch_id: int) -> WholeBatch | None:
        found = self._with_images(select(tables.batches).where(tables.batches.c.id == batch_id))
        return found[0] if found else None

    def locked(self, batch_id: int | None) -> Batch | None:
        """Held until this transaction ends, as ``Images.locked``; no batch for an image that is in none.

        Whoever changes an image so that its batch counts it takes the batch first, then the image.
        """
        if batch_id is None:
            return None
        row = self._connection.execute(
            select(tables.batches).where(tables.batches.c.id == batch_id).with_for_update()
        ).one_or_none()
        return None if row is None else _batch(row)

    def page(
        self, account_id: int, status: BatchStatus | None, *, limit: int, offset: int
    ) -> tuple[list[WholeBatch], int]:
        """The newest first, and how many there are in all."""
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
        """For a batch that is held."""
        if state == batch.state:
            return
        self._connection.execute(
            update(tables.batches)
            .where(tables.batches.c.id == batch.id)
            .values(
                updated_at=now, completed_at=now if state.status.terminal else None, **_batch_columns(state)
            )
        )

    def delete(self, batch_id: int) -> None:
        self._connection.execute(delete(tables.batches).where(tables.batches.c.id == batch_id))

    def _with_images(self, chosen: Select[Any]) -> list[WholeBatch]:
        """One statement, so that counters and images are of the same moment."""
        batches = chosen.subquery()
        rows = self._connection.execute(
            select(batches, tables.images)
            .outerjoin(tables.images, tables.images.c.batch_id == batches.c.id)
            .order_by(batches.c.created_at.desc(), batches.c.id.desc(), tables.images.c.id)
        )
        found: dict[int, WholeBatch] = {}
        for row in rows:
            batch, image = _split(row, batches, tables.images)
            whole = found.setdefault(batch.id, WholeBatch(_batch(batch), []))
            if image.id is not None:
                whole.images.append(_image(image))
        return list(found.values())


class QuotaUsage:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def used(self, account_id: int, month: str) -> int:
        columns = tables.quota_usage.c
        used = self._connection.execute(
            select(columns.used).where(columns.account_id == account_id, columns.month == month)
        ).scalar_one_or_none()
        return used or 0

    def take(self, account_id: int, month: str, images: int, limit: int | None) -> bool:
        """One conditional upsert, so that no two requests can both have the last image."""
        if limit is not None and images > limit:
            return False  # the condition below guards the update only, not the first insert
        row = _insert_into(self._connection, tables.quota_usage).values(
            account_id=account_id, month=month, used=images
        )
        used = tables.quota_usage.c.used
        taken = self._connection.execute(
            row.on_conflict_do_update(
                index_elements=["account_id", "month"],
                set_={"used": used + images},
                where=None if limit is None else used + images <= limit,
            ).returning(used)
        )
        return taken.one_or_none() is not None

    def give_back(self, account_id: int, month: str, images: int) -> None:
        columns = tables.quota_usage.c
        self._connection.execute(
            update(tables.quota_usage)
            .where(columns.account_id == account_id, columns.month == month, columns.used >= images)
            .values(used=columns.used - images)
        )


def _insert_into(connection: Connection, table: Table) -> Any:
    """An insert that can say what happens to a row that is there already, in the dialect of the database."""
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


class _Columns:
    """One table's share of a joined row, by column name."""

    def __init__(self, table: FromClause, values: Sequence[Any]) -> None:
        self.__dict__.update(zip(table.c.keys(), values, strict=True))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _split(row: Sequence[Any], *joined: FromClause) -> list[_Columns]:
    """A joined row by table, in the order in which they were selected."""
    values = iter(row)
    return [_Columns(table, list(islice(values, len(table.c)))) for table in joined]


def _account(row: Row[Any] | _Columns, subscription: _Columns | None) -> Account:
    return Account(
        id=row.id,
        name=row.name,
        email=row.email,
        password_hash=row.password_hash,
        email_verified_at=row.email_verified_at,
        plan=row.plan,
        images_per_month=row.images_per_month,
        # All of its columns are null where the outer join found none.
        subscription=None if subscription is None or subscription.id is None else _subscription(subscription),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _subscription(row: Row[Any] | _Columns) -> Subscription:
    return Subscription(
        id=row.id,
        status=SubscriptionStatus(row.status),
        trial_ends_at=row.trial_ends_at,
        ends_at=row.ends_at,
        created_at=row.created_at,
    )


def _token(row: Row[Any] | _Columns) -> Token:
    return Token(
        id=row.id,
        account_id=row.account_id,
        name=row.name,
        secret_sha256=row.secret_sha256,
        abilities=tuple(row.abilities),
        last_used_at=row.last_used_at,
        created_at=row.created_at,
    )


def _image(row: Row[Any] | _Columns) -> Image:
    result = None
    if row.result_key is not None:
        size = Size(row.result_width, row.result_height)
        result = Result(row.result_key, row.result_size, size, row.processing_seconds, row.model, row.device)
    return Image(
        id=row.id,
        account_id=row.account_id,
        batch_id=row.batch_id,
        filename=row.original_filename,
        original_key=row.original_key,
        original_bytes=row.original_size,
        original_size=Size(row.original_width, row.original_height),
        image_format=ImageFormat(row.image_format),
        sizing=Sizing(row.scale_factor, row.target_width, row.target_height),
        model_choice=row.model_choice,
        api_request=row.api_request,
        job=Job(Status(row.status), row.attempt, row.lost, row.lease_until),
        progress=row.progress,
        result=result,
        error=row.error,
        quota_month=row.quota_month,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _batch(row: Row[Any] | _Columns) -> Batch:
    return Batch(
        id=row.id,
        account_id=row.account_id,
        name=row.name,
        state=BatchState(row.total_images, BatchStatus(row.status), row.completed_images, row.failed_images),
        sizing=Sizing(row.scale_factor, row.target_width, row.target_height),
        created_at=row.created_at,
        updated_at=row.updated_at,
        completed_at=row.completed_at,
    )


def _batch_columns(state: BatchState) -> dict[str, Any]:
    return {
        "status": state.status.value,
        "completed_images": state.completed,
        "failed_images": state.failed,
    }


def _claimable(now: datetime) -> tuple[ColumnElement[bool] | TextClause, ...]:
    """As ``job_states.is_claimable`` has it."""
    columns = tables.images.c
    return (
        text(tables.UNFINISHED),
        or_(columns.lease_until.is_(None), columns.lease_until <= now),
    )


def _job_columns(job: Job) -> dict[str, Any]:
    return {
        "status": job.status.value,
        "attempt": job.attempt,
        "lost": job.lost,
        "lease_until": job.lease_until,
    }
