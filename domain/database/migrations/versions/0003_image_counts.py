"""Add the number of images of each account and status.

An earlier release would write images without counting them. No earlier release has these tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNFINISHED = "status IN ('pending', 'processing')"


def upgrade() -> None:
    """Create ``image_counts`` from the images there are, and replace indexes of images by partial ones.

    On PostgreSQL, no other transaction can write images meanwhile.
    """
    if op.get_bind().dialect.name == "postgresql":
        # No transaction may write between the count and the end of this one; SQLite has only one writer.
        op.execute("LOCK TABLE images IN SHARE ROW EXCLUSIVE MODE")
    op.create_table(
        "image_counts",
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "status", name="pk_image_counts"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_image_counts_account_id", ondelete="CASCADE"
        ),
    )
    op.execute(
        "INSERT INTO image_counts (account_id, status, images)"
        " SELECT account_id, status, count(*) FROM images GROUP BY account_id, status"
    )
    op.drop_index("ix_images_batch_id", "images")
    op.drop_index("ix_images_unfinished", "images")
    for name, column, condition in (
        ("ix_images_batch_id", "batch_id", "batch_id IS NOT NULL"),
        ("ix_images_waiting", "status", "status = 'pending'"),
        ("ix_images_line", "id", _UNFINISHED),
        ("ix_images_line_of_singles", "id", f"{_UNFINISHED} AND batch_id IS NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, "images", [column], postgresql_where=where, sqlite_where=where)
