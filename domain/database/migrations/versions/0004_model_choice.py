"""Add the requested model of an image; null is ``auto``, also for all existing images."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the model that was requested; it is NULL for existing images."""
    op.add_column("images", sa.Column("model_choice", sa.String(16)))
