"""Accounts, tokens, images and the monthly quota."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables of accounts, tokens, images and the monthly quota, with their indexes."""
    op.create_table(
        "accounts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("email_verified_at", _TIME),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("email", name="uq_accounts_email"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tokens",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("abilities", sa.JSON(), nullable=False),
        sa.Column("last_used_at", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_tokens_account_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tokens_account_id", "tokens", ["account_id"])
    op.create_table(
        "images",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("original_filename", sa.String(255), nullable=False),
        sa.Column("original_key", sa.String(255), nullable=False),
        sa.Column("original_size", sa.BigInteger(), nullable=False),
        sa.Column("original_width", sa.Integer(), nullable=False),
        sa.Column("original_height", sa.Integer(), nullable=False),
        sa.Column("picture_format", sa.String(8), nullable=False),
        sa.Column("scale_factor", sa.Integer()),
        sa.Column("target_width", sa.Integer()),
        sa.Column("target_height", sa.Integer()),
        sa.Column("api_request", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("lease_until", _TIME),
        sa.Column("woken_at", _TIME, nullable=False),
        sa.Column("result_key", sa.String(255)),
        sa.Column("result_size", sa.BigInteger()),
        sa.Column("result_width", sa.Integer()),
        sa.Column("result_height", sa.Integer()),
        sa.Column("processing_seconds", sa.Float()),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(64)),
        sa.Column("device", sa.String(64)),
        sa.Column("error", sa.Text()),
        sa.Column("quota_month", sa.String(7), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_images_account_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_images_newest", "images", ["account_id", "created_at", "id"])
    op.create_index("ix_images_newest_by_status", "images", ["account_id", "status", "created_at", "id"])
    op.create_index("ix_images_unfinished", "images", ["status", "woken_at"])
    op.create_table(
        "quota_usage",
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "month", name="pk_quota_usage"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_quota_usage_account_id", ondelete="CASCADE"
        ),
    )
