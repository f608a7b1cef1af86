"""All projections over all partitions, run until they stand at the end; the archive does not linger here."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from sqlalchemy import text

from app.log import Log
from app.postgres import engine
from app.readers import LogSource, extent
from projections import PROJECTIONS
from projections.projection import order
from projections.runner import Runner
from tests.projections import Notes


async def read_by_all(log: Log, database_url: str) -> None:
    """Every projection reads every partition to where it ends now."""
    ends = {(one.name, p): (await extent(log, p)).last_id for one in PROJECTIONS for p in range(log.partitions)}
    quick = [replace(one, pace=PROJECTIONS[0].pace) for one in PROJECTIONS]
    async with engine(database_url) as database, AsyncExitStack() as stack:
        tasks = []
        for partition in range(log.partitions):
            source = LogSource(log, await stack.enter_async_context(log.blocking("read", partition)))
            tasks.append(asyncio.create_task(Runner(database, source, quick, partition, Notes()).run()))
        async with asyncio.timeout(60), database.connect() as connection:
            while True:
                found = await connection.execute(text("SELECT projection, partition, entry_id FROM checkpoints"))
                stands = {(row.projection, row.partition): row.entry_id for row in found}
                if all(at in stands and order(stands[at]) >= order(end) for at, end in ends.items()):
                    break
                await connection.rollback()
                await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
