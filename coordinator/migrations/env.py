"""How alembic reaches the store: over the connection that `coordinator.store` hands it."""

from alembic import context

from coordinator.schema import schema

context.configure(connection=context.config.attributes["connection"], target_metadata=schema, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
