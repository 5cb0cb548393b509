"""Which model an image was sent for; null: the server's choice, as for all that are there already."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("images", sa.Column("model_choice", sa.String(16)))
