"""The runner: whatever dies, repeats or cannot be read, each event leaves its rows once."""

from __future__ import annotations

import asyncio
import re

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from projections.projection import BEGINNING
from projections.tables import checkpoints
from tests.projections import (
    ALICE,
    ARCHIVE,
    BOB,
    READ_MODELS,
    MemoryLog,
    Notes,
    cancelled,
    failed,
    finished,
    rows,
    running,
    until,
)

COUNTS = """
SELECT (SELECT count(*) FROM requests), (SELECT count(*) FROM usage), (SELECT count(*) FROM conversations),
  (SELECT count(*) FROM conversation_messages)
"""


async def test_each_event_becomes_its_rows(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(finished(conversation="c"), failed(), failed(billable=True), cancelled(), finished(billable=False))
    async with running(database, log):
        await until(database, log)
    assert await rows(database, COUNTS) == [(5, 3, 1, 2)]
    assert await rows(database, "SELECT status, count(*) FROM usage GROUP BY 1 ORDER BY 1") == [
        ("cancelled", 1),
        ("error", 1),
        ("success", 1),
    ]


async def test_a_redelivered_event_adds_nothing(database: AsyncEngine) -> None:
    log, twice = MemoryLog(), finished(conversation="c")
    log.add(twice, twice)
    async with running(database, log):
        await until(database, log)
        log.add(twice)
        await until(database, log)
    assert await rows(database, COUNTS) == [(1, 1, 1, 2)]
    assert await rows(database, "SELECT message_count FROM conversations") == [(2,)]


async def test_a_checkpoint_set_back_adds_nothing(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(*(finished(conversation="c") for _ in range(20)))
    async with running(database, log):
        await until(database, log)
    before = await rows(database, COUNTS)
    async with database.begin() as connection:
        await connection.execute(checkpoints.update().values(entry_id=BEGINNING))
    async with running(database, log):
        await until(database, log)
    assert await rows(database, COUNTS) == before == [(20, 20, 1, 40)]


async def test_runners_killed_between_and_in_batches_lose_and_repeat_nothing(database: AsyncEngine) -> None:
    log = MemoryLog()
    for round_number in range(12):
        log.add(*(finished(conversation="c") for _ in range(300)))
        async with running(database, log):
            await asyncio.sleep(0.02 * (round_number % 6))  # dies wherever it is by then
    async with running(database, log):
        await until(database, log)
    assert await rows(database, COUNTS) == [(3600, 3600, 1, 7200)]
    assert await rows(database, "SELECT message_count FROM conversations") == [(7200,)]


async def test_a_second_runner_waits_and_takes_over(database: AsyncEngine) -> None:
    log, first, second = MemoryLog(), Notes(), Notes()
    async with running(database, log, first) as holder:
        log.add(finished())
        await until(database, log)
        async with running(database, log, second):
            await asyncio.sleep(0.3)
            assert second.taken == []
            holder.cancel()
            log.add(finished())
            await until(database, log)
    assert {name for name, _, _ in second.taken} == {projection.name for projection in READ_MODELS}
    assert await rows(database, "SELECT count(*) FROM usage") == [(2,)]


async def test_a_runner_whose_session_is_ended_goes_on_with_another(database: AsyncEngine) -> None:
    log, notes = MemoryLog(), Notes()
    log.add(finished())
    async with running(database, log, notes):
        await until(database, log)
        await rows(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        log.add(finished())
        await until(database, log)
    assert await rows(database, "SELECT count(*) FROM usage") == [(2,)]
    assert notes.outages


async def test_what_cannot_be_read_is_put_aside_and_the_rest_flows(database: AsyncEngine) -> None:
    log, notes = MemoryLog(), Notes()
    misshapen = re.sub(rb'"cost_nanousd":\d+', b'"cost_nanousd":-1', finished().encode())
    log.add(finished(), b"\xff no json", misshapen, b"", finished())
    async with running(database, log, notes):
        await until(database, log)
    assert await rows(database, "SELECT count(*) FROM usage") == [(2,)]
    kept = await rows(database, "SELECT entry_id, raw FROM unreadable WHERE projection = 'usage' ORDER BY 1")
    assert [raw for _, raw in kept] == [b"\xff no json", misshapen, b""]
    assert len(notes.unread) == 3 * len(READ_MODELS)


@pytest.mark.parametrize(
    "newer",
    [(rb'"version":\d+', b'"version":99'), (rb'"cost_nanousd":', b'"a_new_field":1,"cost_nanousd":')],
    ids=["a version", "a field"],
)
async def test_an_event_from_the_future_is_waited_at_until_somebody_newer_takes_over(
    database: AsyncEngine, newer: tuple[bytes, bytes]
) -> None:
    log, notes, event = MemoryLog(), Notes(), finished()
    log.add(finished(), re.sub(*newer, event.encode()), finished())
    async with running(database, log, notes):
        async with asyncio.timeout(30):
            while not notes.waiting:  # noqa: ASYNC110  # the watch has no event
                await asyncio.sleep(0.01)
        assert await rows(database, "SELECT count(*) FROM usage") == [(1,)]
    stands = log.entries[0][1][0]
    assert (notes.waiting[0], notes.unread) == ((0, stands), [])

    log.entries[0][1] = (stands, event.encode())  # as a newer one reads it
    async with running(database, log):
        await until(database, log)
    assert await rows(database, "SELECT count(*) FROM usage") == [(3,)]
    assert await rows(database, "SELECT count(*) FROM unreadable") == [(0,)]


async def test_a_type_that_nobody_wants_is_waited_at_by_nobody(database: AsyncEngine) -> None:
    log, notes = MemoryLog(), Notes()
    log.add(re.sub(rb'"type":"[a-z.]+"', b'"type":"weather.changed"', finished().encode()), finished())
    async with running(database, log, notes):
        await until(database, log)
    assert await rows(database, "SELECT count(*) FROM usage") == [(1,)]
    assert (notes.waiting, notes.unread) == ([], [])


async def test_a_value_that_postgres_refuses_is_put_aside_alone(database: AsyncEngine) -> None:
    log, notes = MemoryLog(), Notes()
    not_an_id = finished(api_key_id="no uuid")
    too_dear = finished(cost_nanousd=10**30)
    nul = finished(model="small\0")
    log.add(*(finished() for _ in range(50)), not_an_id, too_dear, nul, *(finished() for _ in range(50)))
    async with running(database, log, notes):
        await until(database, log)
    assert await rows(database, "SELECT count(*) FROM usage") == [(100,)]
    assert await rows(database, "SELECT projection, count(*) FROM unreadable GROUP BY 1 ORDER BY 1") == [
        ("requests", 3),
        ("usage", 3),
    ]
    assert all("small" not in reason for _, _, _, reason in notes.unread)


async def test_a_projection_that_is_behind_catches_up_with_the_others(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(*(finished() for _ in range(1200)))
    async with running(database, log, projections=READ_MODELS[:1]):
        await until(database, log, READ_MODELS[:1])
    async with running(database, log):
        log.add(*(finished() for _ in range(10)))
        await until(database, log)
    assert await rows(database, COUNTS) == [(1210, 1210, 0, 0)]


async def test_projections_of_one_pace_share_a_read(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(*(finished() for _ in range(1000)))
    async with running(database, log):
        await until(database, log)
        assert log.reads <= 4


async def test_entries_trimmed_unread_raise_an_alarm(database: AsyncEngine) -> None:
    log, notes = MemoryLog(), Notes()
    first, *_ = log.add(finished(), finished())
    log.trim(0, first)
    async with running(database, log, notes):
        await until(database, log)
    assert {gap[1:] for gap in notes.gaps} == {(0, BEGINNING, first)}


async def test_one_conversation_id_of_two_accounts_is_two_conversations(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(
        finished(ALICE, conversation="same"), finished(BOB, conversation="same"), finished(BOB, conversation="same")
    )
    async with running(database, log):
        await until(database, log)
    query = "SELECT user_id::text, id, message_count FROM conversations ORDER BY 1"
    assert await rows(database, query) == [(ALICE, "same", 2), (BOB, "same", 4)]


async def test_every_partition_has_its_own_checkpoint(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(finished(), partition=0)
    log.add(finished(), finished(), partition=1)
    async with running(database, log, partition=0), running(database, log, partition=1):
        await until(database, log)
    assert await rows(database, "SELECT partition, count(*) FROM requests GROUP BY 1 ORDER BY 1") == [(0, 1), (1, 2)]


async def test_the_archive_runs_beside_the_others_at_its_own_pace(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(*(finished() for _ in range(4000)), b"junk")
    async with running(database, log), running(database, log, projections=(ARCHIVE,)):
        await until(database, log)
        await until(database, log, (ARCHIVE,))
    assert await rows(database, "SELECT sum(events), count(*) FROM archive") == [(4001, 3)]


async def test_the_times_of_rows_are_the_events_not_the_clock(database: AsyncEngine) -> None:
    log, said = MemoryLog(), finished()
    log.add(said)
    async with running(database, log):
        await until(database, log)
    async with database.connect() as connection:
        stored = await connection.execute(text("SELECT created_at, cost_usd::text, event_id::text FROM usage"))
        assert stored.one() == (said.at, "0.001234567", said.id)
