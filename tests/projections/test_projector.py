"""The process as a whole, on the real log: facts in, rows out, whatever goes away meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from app import outbox, partitions
from app.ids import new_id
from app.log import Log
from app.projector import serve
from app.readers import Extent, LogSource, Watch, extent
from app.settings import Settings
from events.accounts import KeyRevoked
from events.message import Envelope
from projections.projection import BEGINNING
from projections.rebuild import Wish, rebuild
from projections.usage import USAGE
from tests.conftest import MakeSettings
from tests.projections import ALICE, BOB, MemoryLog, finished, rows, running, until


@asynccontextmanager
async def serving(chosen: Settings) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(serve(chosen))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def opened(chosen: Settings) -> AsyncIterator[Log]:
    log = await Log(chosen.log, name="test", partitions=chosen.helix_partitions).open()
    try:
        yield log
    finally:
        await log.close()


async def comes_true(asked: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await asked():  # noqa: ASYNC110  # rows of Postgres wake nobody
            await asyncio.sleep(0.02)


def revoked(account: str = ALICE) -> Envelope:
    fact = KeyRevoked(api_key_id=new_id(), key_hash="0" * 64)
    return Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=account, subject=new_id())


async def test_events_of_every_partition_become_rows(make_settings: MakeSettings, database: AsyncEngine) -> None:
    chosen = make_settings(helix_partitions=3)
    async with opened(chosen) as log:
        said = [finished(account) for account in (ALICE, BOB) for _ in range(20)]
        await asyncio.gather(*(log.publish(one) for one in said[:20]))
        async with serving(chosen):
            await asyncio.gather(*(log.publish(one) for one in said[20:]))
            await comes_true(lambda: counted(database, "usage", 40))
        result = await rebuild(database, LogSource(log), USAGE, 3, Wish(swap=False))
        assert [one.none for one in result.differences or ()] == [True]


async def counted(database: AsyncEngine, table: str, count: int) -> bool:
    return await rows(database, f"SELECT count(*) FROM {table}") == [(count,)]


async def test_a_fact_from_the_future_stays_for_a_projector_that_can_read_it(
    make_settings: MakeSettings, database: AsyncEngine
) -> None:
    chosen = make_settings()
    connection = await asyncpg.connect(chosen.database)
    newer, fact = revoked(), revoked()
    raw = newer.encode().replace(b'"type":"key.revoked"', b'"type":"key.praised"')
    try:
        await connection.execute("INSERT INTO outbox (id, envelope) VALUES ($1, $2)", UUID(newer.id), raw)
        await outbox.enqueue(connection, fact)
        async with opened(chosen) as log:
            assert [await outbox.publish(connection, log) for _ in range(2)] == [1, 0]
            assert [raw for _, raw in await log.read_events(0, BEGINNING, count=10)] == [fact.encode()]
        assert await rows(database, "SELECT id::text FROM outbox") == [(newer.id,)]
        assert await rows(database, "SELECT count(*) FROM unreadable") == [(0,)]
    finally:
        await connection.close()


async def test_facts_leave_the_outbox_once_they_are_on_the_log(
    make_settings: MakeSettings, database: AsyncEngine
) -> None:
    chosen = make_settings()
    connection = await asyncpg.connect(chosen.database)
    first, second, never = revoked(), revoked(), revoked()
    try:
        async with opened(chosen) as log:
            await outbox.enqueue(connection, first)
            async with serving(chosen):
                await comes_true(lambda: counted(database, "outbox", 0))
                async with connection.transaction():
                    await outbox.enqueue(connection, second)
                with pytest.raises(ZeroDivisionError):
                    async with connection.transaction():
                        await outbox.enqueue(connection, never)
                        raise ZeroDivisionError
                await comes_true(lambda: counted(database, "outbox", 0))
            said = [raw for _, raw in await log.read_events(0, BEGINNING, count=10)]
        assert said == [first.encode(), second.encode()]
    finally:
        await connection.close()


async def test_a_fact_published_before_a_crash_is_said_again_under_its_own_id(make_settings: MakeSettings) -> None:
    class DiesBeforeDelete(Log):
        async def publish(self, envelope: Envelope) -> str:
            await super().publish(envelope)
            raise ConnectionResetError

    chosen = make_settings()
    connection = await asyncpg.connect(chosen.database)
    fact = revoked()
    try:
        await outbox.enqueue(connection, fact)
        dying = await DiesBeforeDelete(chosen.log, name="dying").open()
        with pytest.raises(ConnectionResetError):
            await outbox.publish(connection, dying)
        await dying.close()
        async with opened(chosen) as log:
            assert await outbox.publish(connection, log) == 1
            assert [raw for _, raw in await log.read_events(0, BEGINNING, count=10)] == [fact.encode()] * 2
    finally:
        await connection.close()


async def test_an_outbox_row_that_nobody_can_read_holds_up_nothing(
    make_settings: MakeSettings, database: AsyncEngine
) -> None:
    chosen = make_settings()
    connection = await asyncpg.connect(chosen.database)
    fact = revoked()
    try:
        await connection.execute("INSERT INTO outbox (id, envelope) VALUES (gen_random_uuid(), 'junk')")
        await outbox.enqueue(connection, fact)
        async with opened(chosen) as log:
            assert await outbox.publish(connection, log) == 2
            assert [raw for _, raw in await log.read_events(0, BEGINNING, count=10)] == [fact.encode()]
    finally:
        await connection.close()
    assert await rows(database, "SELECT projection, raw FROM unreadable") == [("outbox", b"junk")]


async def test_a_row_without_a_month_raises_an_alarm_until_it_has_one(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(finished(at=datetime(2031, 11, 5, tzinfo=UTC)))
    async with running(database, log):
        await until(database, log)
    with capture_logs() as said:
        assert await partitions.maintain(database, datetime(2026, 11, 22, tzinfo=UTC)) == {"usage": 1, "archive": 0}
    assert [one["event"] for one in said if one["log_level"] == "error"] == ["usage_default_partition_used"]
    assert await partitions.maintain(database, datetime(2031, 11, 22, tzinfo=UTC)) == {"usage": 0, "archive": 0}


async def test_lag_is_counted_from_what_was_added_and_what_was_passed(make_settings: MakeSettings) -> None:
    watch = Watch()
    async with opened(make_settings()) as log:
        assert await extent(log, 0) == Extent()
        ids = [await log.publish(finished()) for _ in range(5)]
        watch.took_over("usage", 0, BEGINNING)
        watch.took_over("requests", 0, ids[1])
        assert watch.measure(0, await extent(log, 0)) == {"usage": 5, "requests": 5}
        watch.applied(["usage"], 0, 3, ids[2])
        watch.applied(["requests"], 0, 3, ids[4])
        assert watch.measure(0, await extent(log, 0)) == {"usage": 2, "requests": 0}
        await log.publish(finished())
        assert watch.measure(0, await extent(log, 0)) == {"usage": 3, "requests": 1}


def test_the_process_ends_at_sigterm_with_nothing_lost(make_settings: MakeSettings) -> None:
    chosen = make_settings()
    environment = {
        **os.environ,
        "DATABASE_URL": chosen.database,
        "REDIS_URL": chosen.log,
        "API_KEY_ENCRYPTION_KEY": chosen.api_key_encryption_key.get_secret_value(),
    }
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "projector"],
        cwd=Path(__file__).parent.parent.parent,
        env={**environment, "HELIX_READY_FD": str(writing)},
        pass_fds=[writing],
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        os.close(reading)
        process.kill()
    assert process.returncode == 0, said.decode()
    assert b'"handed_over":' in said
    assert b"projector_stopped" in said
