"""The road to Postgres: a pool of connections, and one word for its outages.

One rule: whoever borrows a connection hears `Unavailable` when Postgres cannot answer, whichever way it cannot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeAlias

import asyncpg

# Quoted, for only the type stubs know these as generic.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

CONNECT_S_MAX: Final = 5.0
"""A server that has not taken a connection by then is down for whoever waits."""

COMMAND_S_MAX: Final = 10.0
"""Every statement on this road reads or writes a few rows; one that takes longer is stuck."""

_OUTAGES: Final = (
    OSError,  # no route, refused, reset; asyncio's TimeoutError is one too
    asyncpg.InterfaceError,  # the connection or the pool is closed under us
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up
    asyncpg.InsufficientResourcesError,  # too many connections, out of memory or disk
    asyncpg.InvalidAuthorizationSpecificationError,  # the password was changed under us
    asyncpg.InvalidCatalogNameError,  # the server is there, our database is not: it is being restored
)


class Unavailable(Exception):
    """Postgres does not answer now; the same may succeed later."""


async def open_pool(database_url: str, *, name: str, connections_max: int) -> Pool:
    """A pool that connects when it is first asked, so that a process starts although Postgres is away."""
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=connections_max,
        timeout=CONNECT_S_MAX,
        command_timeout=COMMAND_S_MAX,
        server_settings={"application_name": name},
    )


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[Connection]:
    """One connection of the pool. Raises Unavailable when there is none to be had or it breaks."""
    with _outages_named():
        async with pool.acquire(timeout=CONNECT_S_MAX) as connection:
            yield connection


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[Connection]:
    """A connection of one's own, for a command that comes and goes. Raises Unavailable."""
    with _outages_named():
        connection = await asyncpg.connect(database_url, timeout=CONNECT_S_MAX, command_timeout=COMMAND_S_MAX)
        try:
            yield connection
        finally:
            await connection.close()


@contextmanager
def _outages_named() -> Iterator[None]:
    try:
        yield
    except _OUTAGES as outage:
        raise Unavailable(type(outage).__name__) from outage
