"""Another number of partitions, the way docs/scaling.md says: on an empty log, behind what the archive holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.continuity import compare, reseed
from app.log import Log
from app.log.count import OtherCount, agree
from app.migrate import partitions_read
from app.readers import LogSource
from projections.conversations import CONVERSATIONS
from projections.rebuild import Wish, rebuild
from projections.usage import USAGE
from tests.conftest import MakeSettings
from tests.projections import ALICE, BOB, finished, rows
from tests.retention.reading import read_by_all

COUNT = 20


@asynccontextmanager
async def used(url: str, partitions: int) -> AsyncIterator[Log]:
    await agree(url, partitions)
    log = await Log(url, name="test", partitions=partitions).open()
    await log.declare()
    try:
        yield log
    finally:
        await log.close()


async def say(log: Log) -> None:
    for account in (ALICE, BOB):
        await asyncio.gather(*(log.publish(finished(account, conversation="conv_one")) for _ in range(COUNT)))


async def test_more_partitions_on_an_empty_log_keep_every_row_and_the_archive_whole(
    make_settings: MakeSettings, database: AsyncEngine
) -> None:
    one, more = make_settings(), make_settings(helix_partitions=4)
    async with used(one.log, 1) as log:
        await say(log)
        await read_by_all(log, one.database)
        with pytest.raises(OtherCount):
            await agree(more.log, 4)
        await log.command("FLUSHALL")

    async with used(more.log, 4) as log:
        async with database.connect() as connection:
            assert [fault.partition for fault in (await compare(log, connection)).back] == [0]
            await reseed(log, connection)
            assert (await compare(log, connection)).back == ()
        await say(log)
        await read_by_all(log, more.database)
        for projection in (USAGE, CONVERSATIONS):
            result = await rebuild(database, LogSource(log), projection, 4, Wish(compare=True, swap=False))
            assert result.entries == 4 * COUNT
            assert all(one.none for one in result.differences or ())
    assert await rows(database, "SELECT count(*) FROM usage") == [(4 * COUNT,)]
    assert await partitions_read(more.database) == 4, "fewer would be refused: a replay would leave their archive out"
