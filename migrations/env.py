"""Where Alembic meets the database. One rule: it is run through `app.migrate`, which hands over the connection."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

connection = context.config.attributes["connection"]
if not isinstance(connection, Connection):
    raise TypeError("migrations run through app.migrate, which opens the connection")

context.configure(connection=connection, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
