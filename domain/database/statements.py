"""Statements that more than one repository runs, and the records made of their rows."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite

from domain.batch_states import BatchState, BatchStatus
from domain.database import tables
from domain.formats import ImageFormat
from domain.job_states import Job, Status
from domain.records import Account, Batch, Image, Result, Subscription, SubscriptionStatus, Token
from domain.sizing import Size, Sizing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, FromClause, Table, TextClause
    from sqlalchemy.engine import Connection, Row

# Built once: every request runs these, and building a statement takes longer than running it.
TOKEN_WITH_ACCOUNT = (
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
IMAGE_BY_ID = select(tables.images).where(tables.images.c.id == bindparam("image"))


def upsert_into(connection: Connection, table: Table) -> Any:
    """Return an INSERT of the connection's dialect, which supports ON CONFLICT."""
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def split_row(row: Sequence[Any], *joined: FromClause) -> list[_Columns]:
    """Split a joined row into the columns of each table, in the order in which the tables were selected."""
    values = iter(row)
    return [_Columns(table, list(islice(values, len(table.c)))) for table in joined]


def account_from(row: Row[Any] | _Columns, subscription: _Columns | None) -> Account:
    """Return the account of a row and of its outer-joined subscription, whose columns may all be null."""
    return Account(
        id=row.id,
        name=row.name,
        email=row.email,
        password_hash=row.password_hash,
        email_verified_at=row.email_verified_at,
        plan=row.plan,
        images_per_month=row.images_per_month,
        # If the outer join found no subscription, all of its columns are null.
        subscription=None
        if subscription is None or subscription.id is None
        else subscription_from(subscription),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def subscription_from(row: Row[Any] | _Columns) -> Subscription:
    """Return the subscription of a row."""
    return Subscription(
        id=row.id,
        status=SubscriptionStatus(row.status),
        trial_ends_at=row.trial_ends_at,
        ends_at=row.ends_at,
        created_at=row.created_at,
    )


def token_from(row: Row[Any] | _Columns) -> Token:
    """Return the token of a row."""
    return Token(
        id=row.id,
        account_id=row.account_id,
        name=row.name,
        secret_sha256=row.secret_sha256,
        abilities=tuple(row.abilities),
        last_used_at=row.last_used_at,
        created_at=row.created_at,
    )


def image_from(row: Row[Any] | _Columns) -> Image:
    """Return the image of a row with its job, and with its result if the row has a result's key."""
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


def batch_from(row: Row[Any] | _Columns) -> Batch:
    """Return the batch of a row."""
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


def batch_columns(state: BatchState) -> dict[str, Any]:
    """Return the values of the columns that store a batch's state, except the total."""
    return {
        "status": state.status.value,
        "completed_images": state.completed,
        "failed_images": state.failed,
    }


def job_columns(job: Job) -> dict[str, Any]:
    """Return the values of the image's columns that store a job: status, attempt, lost attempts and lease."""
    return {
        "status": job.status.value,
        "attempt": job.attempt,
        "lost": job.lost,
        "lease_until": job.lease_until,
    }


def claimable(now: datetime) -> tuple[ColumnElement[bool] | TextClause, ...]:
    """Return the condition of ``job_states.is_claimable`` in SQL."""
    columns = tables.images.c
    return (
        text(tables.UNFINISHED),
        or_(columns.lease_until.is_(None), columns.lease_until <= now),
    )


class _Columns:
    """The columns of one table in a joined row, as attributes."""

    def __init__(self, table: FromClause, values: Sequence[Any]) -> None:
        self.__dict__.update(zip(table.c.keys(), values, strict=True))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
