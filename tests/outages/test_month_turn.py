"""Ten thousand events over the turn of a month, and some of another age, each find their place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.faults.made_up import made_up
from app.postgres import engine
from projections import PROJECTIONS, archive, partitions
from projections.rebuild import Wish, rebuild
from projections.requests import REQUESTS
from projections.usage import USAGE
from tests.projections import ARCHIVE, READ_MODELS, MemoryLog, Notes, finished, rows, running, until

EVENTS = 10_000
NEXT_MONTH = partitions.month_after(partitions.month_of(datetime.now(UTC)))
AROUND = timedelta(seconds=10)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine(database_url) as opened:
        yield opened


async def read_live(database: AsyncEngine, log: MemoryLog) -> Notes:
    """As a projector reads: the read models together, the archive at its own pace."""
    notes = Notes()
    async with running(database, log, notes, READ_MODELS), running(database, log, notes, (ARCHIVE,)):
        await until(database, log, PROJECTIONS)
    return notes


async def test_the_months_of_the_next_quarter_are_there_before_they_begin(database: AsyncEngine) -> None:
    async with database.connect() as connection:
        for table in partitions.PARTITIONED:
            for ahead in range(partitions.MONTHS_AHEAD + 1):
                month = partitions.month_after(partitions.month_of(datetime.now(UTC)), ahead)
                name = partitions.partition_name(table, month)
                found = await connection.execute(text("SELECT to_regclass(:name)"), {"name": name})
                assert found.scalar_one() is not None, name


async def test_ten_thousand_events_over_the_turn_of_the_month_land_without_an_error(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.entries[0] = list(made_up(13, EVENTS, NEXT_MONTH - AROUND, NEXT_MONTH + AROUND))
    notes = await read_live(database, log)
    assert (notes.unread, notes.outages, notes.gaps) == ([], [], [])

    months = [partitions.partition_name("usage", month) for month in (NEXT_MONTH - AROUND, NEXT_MONTH)]
    counts = [await rows(database, f"SELECT count(*) FROM {name}") for name in months]
    ((both,),) = await rows(database, "SELECT count(*) FROM usage")
    assert [count > EVENTS // 3 for ((count,),) in counts] == [True, True]  # type: ignore[operator]  # a count
    assert sum(count for ((count,),) in counts) == both  # type: ignore[misc]  # a count
    assert await rows(database, "SELECT count(*) FROM requests") == [(EVENTS,)]
    async with database.connect() as connection:
        assert [await partitions.strayed(connection, table) for table in partitions.PARTITIONED] == [0, 0]
        assert [one.fault async for one in archive.verify(connection, 0) if one.fault] == []
        assert await archive.size(connection) == EVENTS

    for projection in (REQUESTS, USAGE):
        result = await rebuild(database, log, projection, 1, Wish(swap=False))
        assert [one.none for one in result.differences or ()] == [True] * len(projection.tables)


async def test_an_event_of_another_age_lands_and_is_moved_when_its_month_is_made(database: AsyncEngine) -> None:
    past, future = NEXT_MONTH - timedelta(days=20 * 365), NEXT_MONTH + timedelta(days=5 * 365)
    log = MemoryLog()
    ids = [f"{number}-0" for number in (1, 2, 3)]
    said = [finished(at=at) for at in (past, NEXT_MONTH, future)]
    log.entries[0] = [(entry, one.encode()) for entry, one in zip(ids, said, strict=True)]
    notes = await read_live(database, log)
    assert (notes.unread, notes.outages) == ([], [])
    assert await rows(database, "SELECT count(*) FROM usage") == [(3,)]
    async with database.begin() as connection:
        assert await partitions.strayed(connection, "usage") == 2
        await partitions.make(connection, "usage", [partitions.month_of(at) for at in (past, future)])
        assert await partitions.strayed(connection, "usage") == 0
    result = await rebuild(database, log, USAGE, 1, Wish())
    assert (result.entries, result.passed_by) == (3, 0)
    assert await rows(database, "SELECT count(*) FROM usage") == [(3,)]
