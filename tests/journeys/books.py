"""What Helix has written down: the log and the tables, read beside it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from app.log import Log, keys
from app.up.directory import Facts
from events.catalog import read
from events.completions import CompletionEnded
from events.message import Envelope

PATIENCE_S = 60
"""How long a test waits for what must come."""

PAGE = 1000


class Books:
    """The log and the database of one Helix."""

    def __init__(self, log: Log, database: asyncpg.Connection[asyncpg.Record]) -> None:
        self.log = log
        self.database = database

    async def events(self) -> list[Envelope]:
        """Every event on the log, oldest first."""
        found: list[Envelope] = []
        for partition in range(self.log.partitions):
            after = "0-0"
            while entries := await self.log.read_events(partition, after, count=PAGE):
                found += [read(raw) for _, raw in entries]
                after = entries[-1][0]
        return found

    async def ends(self, requests: Iterable[str]) -> Counter[str]:
        """How many terminal events each of these requests has."""
        wanted = set(requests)
        events = await self.events()
        return Counter(
            said.subject for said in events if isinstance(said.body, CompletionEnded) and said.subject in wanted
        )

    async def usage(self, requests: Iterable[str]) -> Counter[str]:
        """How many usage rows each of these requests has, once the projection has read all that is on the log."""
        await self.caught_up()
        rows = await self.database.fetch(
            "SELECT request_id FROM usage WHERE request_id = ANY($1::text[])", list(requests)
        )
        return Counter(str(row["request_id"]) for row in rows)

    async def caught_up(self) -> None:
        """Wait until every projection but the archive, which lingers on purpose, stands where the log ends now."""
        newest = [_order(await self.log.last_event_id(partition)) for partition in range(self.log.partitions)]

        async def there() -> bool:
            rows = await self.database.fetch(
                "SELECT partition, entry_id FROM checkpoints WHERE projection <> 'archive'"
            )
            return bool(rows) and all(_order(row["entry_id"]) >= newest[row["partition"]] for row in rows)

        await soon(there)

    async def idle(self) -> bool:
        """No command waits, and none is in anybody's hands."""
        waiting = await self.log.command("XLEN", keys.commands(0))
        pending = await self.log.command("XPENDING", keys.commands(0), keys.COMPLETIONS)
        return bool(waiting == 0 and pending[0] == 0)

    async def lengths(self) -> tuple[int, int, int]:
        """Commands, events, requests that the log server knows of: what a request leaves behind."""
        commands = await self.log.command("XLEN", keys.commands(0))
        events = await self.log.command("XLEN", keys.events(0))
        known = await self.log.command("KEYS", keys.request(0, "*"))
        return commands, events, len(known)


@asynccontextmanager
async def books_of(facts: Facts, partitions: int = 1) -> AsyncIterator[Books]:
    log = await Log(facts["redis_url"], name="journeys", partitions=partitions).open()
    database: Any = await asyncpg.connect(facts["database_url"])  # the stubs leave its record open
    try:
        yield Books(log, database)
    finally:
        await database.close()
        await log.close()


async def soon(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is true; fail when the test's patience ends first."""
    async with asyncio.timeout(PATIENCE_S):
        while not await true():  # noqa: ASYNC110  # it happens in other processes
            await asyncio.sleep(0.02)


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)
