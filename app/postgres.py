"""Postgres through SQLAlchemy, for migrations and projections; the hot roads use the pool of `app.database`.

One rule: no connection is pooled. Their users hold session locks and a search path of their own, which a connection
must not carry to the next borrower.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

CONNECT_S_MAX: Final = 10
"""Longer than a server under load takes to answer, short enough to notice one that is gone."""


NOTICED: Final = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""A machine that vanishes without a word (its power, its network) keeps its locks until Postgres notices: by these after
half a minute, by the system's own after two hours."""


@asynccontextmanager
async def engine(database_url: str, name: str = "helix") -> AsyncIterator[AsyncEngine]:
    """An engine for `postgresql://…`; `sslmode` and the other words of libpq are understood as asyncpg does. `name` is
    what Postgres shows for its connections."""
    url = make_url(database_url)
    libpq = url.render_as_string(hide_password=False)
    database = create_async_engine(
        url.set(drivername="postgresql+asyncpg", query={}),
        poolclass=NullPool,
        connect_args={"dsn": libpq, "timeout": CONNECT_S_MAX, "server_settings": {"application_name": name, **NOTICED}},
    )
    try:
        yield database
    finally:
        await database.dispose()
