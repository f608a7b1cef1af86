"""A log and a database of the test's own, with a projector between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from app.log import Log
from app.postgres import engine
from app.readers import LogSource
from events.message import Envelope
from projections.projection import order
from projections.runner import Runner
from tests.projections import READ_MODELS, Notes, rows


@dataclass(frozen=True)
class Books:
    """What was said is remembered."""

    log: Log
    database: AsyncEngine
    database_url: str

    async def say(self, *said: Envelope) -> None:
        for one in said:
            await self.log.publish(one)
        await self.caught_up()

    async def caught_up(self) -> None:
        end = await self.log.last_event_id(0)
        async with asyncio.timeout(30):
            while True:
                stands = await self.rows("SELECT entry_id FROM checkpoints WHERE projection <> 'archive'")
                if len(stands) == len(READ_MODELS) and all(order(str(at)) >= order(end) for (at,) in stands):
                    return
                await asyncio.sleep(0.02)

    async def rows(self, query: str) -> list[tuple[object, ...]]:
        return await rows(self.database, query)


@pytest_asyncio.fixture
async def books(log_url: str, database_url: str) -> AsyncIterator[Books]:
    stream = await Log(log_url, name="test").open()
    async with engine(database_url) as database:
        quick = [replace(one, pace=replace(one.pace, linger_s=0.0)) for one in READ_MODELS]
        runner = asyncio.create_task(Runner(database, LogSource(stream), quick, 0, Notes()).run())
        try:
            yield Books(stream, database, database_url)
        finally:
            runner.cancel()
            await asyncio.wait([runner])
            await stream.close()
