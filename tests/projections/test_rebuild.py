"""A rebuild: equal to the live rows, unseen until it is whole, whatever is written meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from projections import checkpoints
from projections.archive import Damaged
from projections.conversations import CONVERSATIONS
from projections.projection import Projection
from projections.rebuild import CannotRebuild, Result, Wish, rebuild
from projections.requests import REQUESTS
from projections.shadow import Stretch
from projections.usage import USAGE
from tests.projections import (
    ARCHIVE,
    BOB,
    CAROL,
    NOON,
    READ_MODELS,
    MemoryLog,
    adjusted,
    changed,
    erased,
    failed,
    finished,
    responded,
    rows,
    running,
    until,
)

CHANGED = "UPDATE usage SET total_tokens = 7 WHERE request_id = (SELECT min(request_id) FROM usage)"


async def mended(database: AsyncEngine, log: MemoryLog, projection: Projection, **wish: object) -> Result:
    return await rebuild(database, log, projection, 1, Wish(**wish))  # type: ignore[arg-type]  # each test spells it


async def filled(database: AsyncEngine, log: MemoryLog, *, archived: bool = False) -> None:
    log.add(*(finished(conversation=f"c{number % 7}") for number in range(495)), failed(billable=True), b"junk")
    log.add(*(responded() for _ in range(5)))
    log.add(*(finished(BOB, at=NOON + timedelta(days=40), conversation="c1") for _ in range(300)))
    log.add(*(adjusted(finished()) for _ in range(5)), *(changed() for _ in range(5)), erased(CAROL))
    async with running(database, log):
        await until(database, log)
    if archived:
        async with running(database, log, projections=(ARCHIVE,)):
            await until(database, log, (ARCHIVE,))
        log.trim(0, log.entries[0][-1][0])
        log.add(*(finished(conversation="c1") for _ in range(50)))
        async with running(database, log):
            await until(database, log)


async def do(database: AsyncEngine, statement: str) -> None:
    async with database.begin() as connection:
        await connection.execute(text(statement))


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("projection", READ_MODELS, ids=lambda projection: projection.name)
async def test_a_rebuild_equals_the_live_rows(database: AsyncEngine, projection: Projection, archived: bool) -> None:
    log = MemoryLog()
    await filled(database, log, archived=archived)
    result = await mended(database, log, projection, compare=True, swap=False)
    assert result.differences is not None
    assert [one.none and one.live_rows > 0 for one in result.differences] == [True] * len(projection.tables)
    assert (result.passed_by, result.swapped) == (1, False)


async def test_a_dry_run_names_what_differs_and_changes_nothing(database: AsyncEngine) -> None:
    log = MemoryLog()
    await filled(database, log)
    await do(database, CHANGED)
    (difference,) = (await mended(database, log, USAGE, swap=False)).differences or ()
    assert (difference.only_live, difference.only_shadow, len(difference.examples)) == (1, 1, 1)
    assert await rows(database, "SELECT count(*) FROM usage WHERE total_tokens = 7") == [(1,)]
    assert await rows(database, "SELECT 1 FROM pg_namespace WHERE nspname LIKE 'shadow%'") == []


@pytest.mark.parametrize("archived", [False, True])
async def test_a_rebuild_mends_what_was_changed_and_dropped(database: AsyncEngine, archived: bool) -> None:
    log = MemoryLog()
    await filled(database, log, archived=archived)
    before = await rows(database, "SELECT * FROM usage ORDER BY event_id")
    await do(database, CHANGED)
    await do(database, "DELETE FROM usage WHERE user_id = (SELECT max(user_id::text) FROM usage)::uuid")
    await mended(database, log, USAGE)
    assert await rows(database, "SELECT * FROM usage ORDER BY event_id") == before


async def test_a_projection_dropped_with_its_checkpoint_comes_back(database: AsyncEngine) -> None:
    log = MemoryLog()
    await filled(database, log, archived=True)
    before = await rows(database, "SELECT * FROM requests ORDER BY id")
    await do(database, "TRUNCATE requests")
    await do(database, "DELETE FROM checkpoints WHERE projection = 'requests'")
    await mended(database, log, REQUESTS)
    assert await rows(database, "SELECT * FROM requests ORDER BY id") == before
    async with running(database, log):  # goes on behind what the rebuild has read
        log.add(finished())
        await until(database, log)
    assert await rows(database, "SELECT count(*) FROM requests") == [(len(before) + 1,)]


async def test_reads_and_writes_go_on_while_tables_are_exchanged(database: AsyncEngine) -> None:
    log = MemoryLog()
    await filled(database, log)
    counts: list[int] = []
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            log.add(*(finished(conversation="busy") for _ in range(5)))
            await asyncio.sleep(0.02)

    async def look() -> None:
        async with database.connect() as connection:  # one connection: its prepared statements outlive the exchange
            while not stop.is_set():
                found = await connection.execute(text("SELECT count(*) FROM usage"))
                counts.append(int(found.scalar_one()))
                await connection.commit()
                await asyncio.sleep(0.005)

    async with running(database, log):
        around = [asyncio.create_task(write()), asyncio.create_task(look())]
        results = [await mended(database, log, one, compare=True) for one in READ_MODELS for _ in range(2)]
        stop.set()
        await asyncio.gather(*around)
        await until(database, log)
    assert all(one.none for result in results for one in result.differences or ())
    assert counts == sorted(counts)
    assert counts[0] >= 800
    for projection in READ_MODELS:
        after = await mended(database, log, projection, swap=False)
        assert all(one.none for one in after.differences or ()), after.differences
    assert await rows(database, "SELECT count(*) FROM usage_default") == [(0,)]


async def test_a_stretch_is_made_anew_and_the_rest_left_alone(database: AsyncEngine) -> None:
    log = MemoryLog()
    await filled(database, log)
    await do(database, "UPDATE usage SET total_tokens = 7")
    await mended(database, log, USAGE, stretch=Stretch(since=NOON + timedelta(days=1)))
    assert await rows(database, "SELECT total_tokens, count(*) FROM usage GROUP BY 1 ORDER BY 1") == [
        (7, 501),
        (30, 300),
    ]
    await mended(database, log, USAGE, stretch=Stretch(until=NOON + timedelta(days=1)))
    assert await rows(database, "SELECT total_tokens, count(*) FROM usage GROUP BY 1 ORDER BY 1") == [(30, 801)]


async def test_sums_over_time_cannot_be_made_anew_in_part(database: AsyncEngine) -> None:
    with pytest.raises(CannotRebuild, match="add up over time"):
        await mended(database, MemoryLog(), CONVERSATIONS, stretch=Stretch(since=datetime(2026, 1, 1, tzinfo=UTC)))


async def test_the_archive_is_not_rebuilt(database: AsyncEngine) -> None:
    with pytest.raises(CannotRebuild, match="rebuilt from"):
        await mended(database, MemoryLog(), ARCHIVE)


async def test_a_second_rebuild_is_refused_while_one_runs(database: AsyncEngine) -> None:
    async with database.connect() as somebody:
        assert await checkpoints.hold(somebody, "rebuild usage", 0)
        with pytest.raises(CannotRebuild, match="somebody else"):
            await mended(database, MemoryLog(), USAGE)
    assert (await mended(database, MemoryLog(), USAGE)).swapped


async def test_a_gap_between_archive_and_log_is_refused(database: AsyncEngine) -> None:
    log = MemoryLog()
    await filled(database, log)
    log.trim(0, log.entries[0][10][0])
    with pytest.raises(CannotRebuild, match="archive ends"):
        await mended(database, log, USAGE)
    assert await rows(database, "SELECT count(*) FROM usage") == [(801,)]


async def test_a_damaged_archive_is_refused(database: AsyncEngine) -> None:
    log = MemoryLog()
    await filled(database, log, archived=True)
    await do(database, "UPDATE archive SET payload = payload || '\\x00'::bytea")
    with pytest.raises(Damaged):
        await mended(database, log, USAGE)


async def test_a_reader_that_stays_delays_the_exchange_and_loses_nothing(database: AsyncEngine) -> None:
    log = MemoryLog()
    await filled(database, log)
    await do(database, CHANGED)
    async with database.connect() as reader:
        await reader.execute(text("SELECT count(*) FROM usage"))
        exchange = asyncio.create_task(mended(database, log, USAGE))
        done, _ = await asyncio.wait([exchange], timeout=4)
        assert not done
        await reader.rollback()
    assert (await exchange).swapped
    assert await rows(database, "SELECT count(*) FROM usage WHERE total_tokens = 7") == [(0,)]
