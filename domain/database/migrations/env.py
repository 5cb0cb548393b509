"""Alembic's entry point: runs the migrations on the connection that ``domain.database.schema`` passes."""

from alembic import context

from domain.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
)
with context.begin_transaction():
    context.run_migrations()
