"""The tables for SQLAlchemy Core; ``migrations`` creates them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class UtcDateTime(TypeDecorator[datetime]):
    """A column type that stores aware datetimes and returns them in UTC; SQLite itself stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value in UTC, without its time zone on SQLite.

        Raise ValueError if it has no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("The datetime has no time zone.")
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # the signature is SQLAlchemy's
        """Return the time in UTC; a time without a zone, as SQLite stores it, is UTC already."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# On SQLite only INTEGER is incremented automatically, and it has 64 bits too.
Id = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("email", String(320), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("email_verified_at", UtcDateTime),
    Column("plan", String(64), nullable=False),
    Column("images_per_month", Integer),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("abilities", JSON, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("status", String(16), nullable=False),
    Column("trial_ends_at", UtcDateTime),
    Column("ends_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

batches = Table(
    "batches",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(255)),
    Column("status", String(20), nullable=False),
    Column("total_images", Integer, nullable=False),
    Column("completed_images", Integer, nullable=False),
    Column("failed_images", Integer, nullable=False),
    Column("scale_factor", Integer),
    Column("target_width", Integer),
    Column("target_height", Integer),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    # The first page of a list, without and with a status filter.
    Index("ix_batches_newest", "account_id", "created_at", "id"),
    Index("ix_batches_newest_by_status", "account_id", "status", "created_at", "id"),
    sqlite_autoincrement=True,
)

PENDING = "status = 'pending'"
UNFINISHED = "status IN ('pending', 'processing')"
"""Conditions as SQL text: a database uses a partial index only if the query has exactly the index's condition."""


def _where(condition: str) -> dict[str, Any]:
    """Return the options of a partial index with this condition, for both databases."""
    return {f"{dialect}_where": text(condition) for dialect in ("postgresql", "sqlite")}


images = Table(
    "images",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("original_filename", String(255), nullable=False),
    Column("original_key", String(255), nullable=False),
    Column("original_size", BigInteger, nullable=False),
    Column("original_width", Integer, nullable=False),
    Column("original_height", Integer, nullable=False),
    Column("picture_format", String(8), key="image_format", nullable=False),  # the column's first name
    Column("scale_factor", Integer),
    Column("target_width", Integer),
    Column("target_height", Integer),
    Column("api_request", Boolean, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("lease_until", UtcDateTime),
    Column("woken_at", UtcDateTime, key="notified_at", nullable=False),  # the column's first name
    Column("result_key", String(255)),
    Column("result_size", BigInteger),
    Column("result_width", Integer),
    Column("result_height", Integer),
    Column("processing_seconds", Float),
    Column("progress", Integer, nullable=False),
    Column("model", String(64)),
    Column("device", String(64)),
    Column("error", Text),
    Column("quota_month", String(7), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("batch_id", Id),
    Column("model_choice", String(16)),
    # Partial: with NULL in the index, SQLite would use it to scan all images that are in no batch.
    Index("ix_images_batch_id", "batch_id", **_where("batch_id IS NOT NULL")),
    # The first page of a list, without and with a status filter.
    Index("ix_images_newest", "account_id", "created_at", "id"),
    Index("ix_images_newest_by_status", "account_id", "status", "created_at", "id"),
    # The number of pending images, and the oldest claimable ones, whatever the number of finished images.
    Index("ix_images_waiting", "status", **_where(PENDING)),
    Index("ix_images_line", "id", **_where(UNFINISHED)),
    Index("ix_images_line_of_singles", "id", **_where(f"{UNFINISHED} AND batch_id IS NULL")),
    sqlite_autoincrement=True,
)

quota_usage = Table(
    "quota_usage",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("used", Integer, nullable=False),
)

# Updated in the same transactions as the images: counting 100,000 images takes ten times as long as reading one page.
image_counts = Table(
    "image_counts",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("status", String(16), primary_key=True),
    Column("images", Integer, nullable=False),
)
