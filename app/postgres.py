"""Postgres through SQLAlchemy, for migrations and projections; the hot roads use the pool of `app.database`.

One rule: no connection is pooled. Their users hold session locks and a search path of their own, which a connection
must not carry to the next borrower.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

CONNECT_S_MAX = 10
"""Longer than a server under load takes to answer, short enough to notice one that is gone."""


@asynccontextmanager
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine for `postgresql://…`; `sslmode` and the other words of libpq are understood as asyncpg does."""
    url = make_url(database_url)
    libpq = url.render_as_string(hide_password=False)
    database = create_async_engine(
        url.set(drivername="postgresql+asyncpg", query={}),
        poolclass=NullPool,
        connect_args={"dsn": libpq, "timeout": CONNECT_S_MAX, "server_settings": {"application_name": "helix"}},
    )
    try:
        yield database
    finally:
        await database.dispose()
