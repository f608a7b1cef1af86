"""What may leave the log, and what may not: against a real server and real checkpoints."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from app import trimmer
from app.log import Log, keys
from app.readers import LogSource, extent
from events.message import Envelope
from projections import PROJECTIONS, archive
from projections.projection import BEGINNING, order
from projections.rebuild import CannotRebuild, Wish, rebuild
from projections.runner import Runner
from projections.usage import USAGE
from tests.projections import Notes, finished, rows

HOURS_AGO_MS = 3 * 3600 * 1000


async def published(log: Log, count: int, *, old: bool = True) -> list[str]:
    """So many events on the log; `old` ones as they lie there three hours later."""
    start_ms = int(datetime.now(UTC).timestamp() * 1000) - HOURS_AGO_MS
    said = [finished() for _ in range(count)]
    ids = [f"{start_ms + at}-0" if old else "*" for at in range(count)]
    return list(await asyncio.gather(*(_add(log, id, one) for id, one in zip(ids, said, strict=True))))


async def _add(log: Log, id: str, said: Envelope) -> str:
    words = ("__data__", said.encode(), "type", said.type, "id", said.id)
    entry: bytes = await log.command("XADD", keys.events(0), id, *words)
    return entry.decode()


async def read_up_to(database: AsyncEngine, log: Log, last: str, *names: str) -> None:
    """Run these projections (all, where none is named) until each has read up to an entry."""
    chosen = [
        replace(one, pace=replace(one.pace, linger_s=0.01)) for one in PROJECTIONS if one.name in names or not names
    ]
    groups = [[one for one in chosen if one.pace == pace] for pace in {one.pace for one in chosen}]
    notes = Notes()
    tasks = [asyncio.create_task(Runner(database, LogSource(log), group, 0, notes).run()) for group in groups]
    try:
        async with asyncio.timeout(30), database.connect() as connection:
            wanted = {(one.name, last) for one in chosen}
            query = "SELECT projection, entry_id FROM checkpoints"
            while not wanted <= set(await rows(connection, query)):  # noqa: ASYNC110  # rows of Postgres wake nobody
                await asyncio.sleep(0.02)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert notes.gaps == []


async def left(log: Log) -> list[str]:
    return [entry for entry, _ in await log.read_events(0, BEGINNING, count=10_000)]


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Age does not count: the log is fuller than it may be with what everybody has read."""
    monkeypatch.setattr(trimmer, "CROWDED", 0.0)


async def test_what_all_have_read_an_hour_ago_leaves_the_log_and_nothing_else(log: Log, database: AsyncEngine) -> None:
    await published(log, 200)
    new = await published(log, 100, old=False)
    await read_up_to(database, log, new[-1])
    (cut,) = await trimmer.trim_all(log, database)
    kept = await left(log)
    assert cut.refused is None
    assert cut.entries == 300 - len(kept)
    assert kept[-100:] == new
    assert len(kept) - 100 < 100, "at most what is left of one node of the stream"
    assert (await extent(log, 0)).added == 300


async def test_nothing_goes_above_the_slowest_reader(log: Log, database: AsyncEngine, crowded: None) -> None:
    ids = await published(log, 200)
    await read_up_to(database, log, ids[-1])
    slow = ids[80]
    async with database.begin() as connection:
        await connection.execute(text(f"UPDATE checkpoints SET entry_id = '{slow}' WHERE projection = 'usage'"))
    await trimmer.trim_all(log, database)
    kept = await left(log)
    assert kept[-119:] == ids[81:]
    assert len(kept) < 200
    assert order((await extent(log, 0)).trimmed_to) <= order(slow)


async def test_a_lagging_archive_keeps_what_every_projection_has_read(
    log: Log, database: AsyncEngine, crowded: None
) -> None:
    ids = await published(log, 100)
    await read_up_to(database, log, ids[-1])
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM archive"))
    await trimmer.trim_all(log, database)
    assert await left(log) == ids


async def test_an_entry_that_a_group_has_not_acknowledged_stays(log: Log, database: AsyncEngine, crowded: None) -> None:
    ids = await published(log, 200)
    await log.command("XGROUP", "CREATE", keys.events(0), "billing", "0")
    await read_up_to(database, log, ids[-1])
    await trimmer.trim_all(log, database, ["billing"])
    assert await left(log) == ids, "a group that was stopped before its first entry"
    await log.command("XREADGROUP", "GROUP", "billing", "one", "COUNT", 140, "STREAMS", keys.events(0), ">")
    await log.command("XACK", keys.events(0), "billing", *ids[:60])
    await trimmer.trim_all(log, database, ["billing"])
    kept = await left(log)
    assert kept[-140:] == ids[60:]
    assert len(kept) < 200
    await log.command("XACK", keys.events(0), "billing", *ids[60:140])
    await trimmer.trim_all(log, database, ["billing"])
    kept = await left(log)
    assert kept[-60:] == ids[140:]
    assert len(kept) < 140


@pytest.mark.parametrize("missing", ["checkpoint", "group"])
async def test_the_trimmer_refuses_while_a_reader_is_missing(
    log: Log, database: AsyncEngine, crowded: None, missing: str
) -> None:
    ids = await published(log, 100)
    await read_up_to(database, log, ids[-1])
    if missing == "checkpoint":
        async with database.begin() as connection:
            await connection.execute(text("DELETE FROM checkpoints WHERE projection = 'conversations'"))
    with capture_logs() as said:
        (cut,) = await trimmer.trim_all(log, database, ["billing"] if missing == "group" else [])
    assert await left(log) == ids
    assert (
        cut.refused
        == {
            "checkpoint": "no checkpoint of conversations",
            "group": "the group billing is missing",
        }[missing]
    )
    assert [one["event"] for one in said] == ["trim_refused"]


async def test_a_log_behind_its_readers_is_left_alone(log: Log, database: AsyncEngine, crowded: None) -> None:
    ids = await published(log, 100)
    await read_up_to(database, log, ids[-1])
    await log.command("DEL", keys.events(0))
    await _add(log, ids[0], finished())
    (cut,) = await trimmer.trim_all(log, database)
    assert cut.refused
    assert await left(log) == ids[:1]


async def test_two_trim_in_turn_and_none_while_a_backup_is_made(log: Log, database: AsyncEngine, crowded: None) -> None:
    ids = await published(log, 100)
    await read_up_to(database, log, ids[-1])
    async with database.connect() as connection:
        await trimmer.hold_off(connection)
        assert await trimmer.trim_all(log, database) == []
        assert await left(log) == ids
    cuts = await asyncio.gather(*(trimmer.trim_all(log, database) for _ in range(3)))
    assert sum(cut.entries for one in cuts for cut in one) == 100 - len(await left(log))


async def test_a_replay_reads_archive_and_log_with_no_gap_and_no_double(
    log: Log, database: AsyncEngine, crowded: None
) -> None:
    first = await published(log, 150)
    await read_up_to(database, log, first[-1])
    await trimmer.trim_all(log, database)
    last = await published(log, 100, old=False)
    await read_up_to(database, log, last[-1], "requests", "usage", "conversations")
    result = await rebuild(database, LogSource(log), USAGE, 1, Wish(compare=True))
    assert [one.none for one in result.differences or ()] == [True]
    assert result.entries == 250
    assert await rows(database, "SELECT count(*), count(DISTINCT event_id) FROM usage") == [(250, 250)]


async def test_a_log_trimmed_under_a_replay_is_read_on_from_the_archive(
    log: Log, database: AsyncEngine, crowded: None
) -> None:
    class TrimmedBetween(LogSource):
        """The log loses what the replay has not read, right after its first read of it."""

        reads = 0

        async def read(
            self, partition: int, after: str, *, count: int, block_ms: int | None
        ) -> list[tuple[str, bytes]]:
            self.reads += 1
            if self.reads == 2:
                await read_up_to(database, log, ids[-1])
                await trimmer.trim_all(log, database)
            return await super().read(partition, after, count=min(count, 50), block_ms=block_ms)

    ids = await published(log, 300)
    await read_up_to(database, log, ids[-1], "usage")
    source = TrimmedBetween(log)
    result = await rebuild(database, source, USAGE, 1, Wish())
    assert result.entries == 300
    assert len(await left(log)) < 100
    assert await rows(database, "SELECT count(*), count(DISTINCT event_id) FROM usage") == [(300, 300)]


async def test_entries_trimmed_before_they_were_archived_are_missed(
    log: Log, database: AsyncEngine, crowded: None
) -> None:
    ids = await published(log, 100)
    await read_up_to(database, log, ids[-1])
    await trimmer.trim_all(log, database)
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM archive"))
    with pytest.raises(CannotRebuild, match="archive ends"):
        await rebuild(database, LogSource(log), USAGE, 1, Wish())


@pytest.mark.parametrize(
    "harm",
    [
        ("DELETE FROM archive WHERE first_id = (SELECT first_id FROM archive ORDER BY first_id {at} LIMIT 1)", ""),
        ("DELETE FROM archive WHERE first_id = (SELECT first_id FROM archive ORDER BY first_id {at} LIMIT 1)", "DESC"),
        (
            "DELETE FROM archive WHERE first_id = (SELECT first_id FROM archive ORDER BY first_id {at} LIMIT 1)",
            "OFFSET 1",
        ),
        ("UPDATE archive SET payload = payload || '\\x00'::bytea", ""),
        ("UPDATE archive SET events = events + 1", ""),
    ],
)
async def test_what_is_missing_or_changed_in_the_archive_is_found(
    log: Log, database: AsyncEngine, harm: tuple[str, str]
) -> None:
    for _ in range(3):
        ids = await published(log, 20, old=False)
        await read_up_to(database, log, ids[-1], "archive")

    async def faults() -> list[str]:
        async with database.connect() as connection:
            return [one.fault async for one in archive.verify(connection, 0) if one.fault]

    assert await faults() == []
    statement, at = harm
    async with database.begin() as connection:
        await connection.execute(text(statement.format(at=at)))
    assert await faults() != []
