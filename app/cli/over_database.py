"""Commands that look into Postgres: connected, asked, closed; an outage is one line, not a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from app.cli.over_log import refuse
from app.settings import settings

if TYPE_CHECKING:
    from app.database import Connection

Value = TypeVar("Value")


def over_database(work: Callable[[Connection], Awaitable[Value]], *refusals: type[Exception]) -> Value:
    """Do it on a connection of its own. `refusals`: what the work raises when it must not be done; their words are for a
    person. Exits with 2 on a refusal, and with 1 when Postgres fails."""
    import asyncpg

    from app.database import Unavailable, connected

    async def run() -> Value:
        async with connected(settings().database) as connection:
            return await work(connection)

    try:
        return asyncio.run(run())
    except refusals as refused:
        refuse(str(refused))
    except asyncpg.UndefinedTableError:
        refuse("the database has no tables yet: run `./helix migrate` first")
    except Unavailable as outage:
        refuse(f"Postgres does not answer ({outage})", code=1)
