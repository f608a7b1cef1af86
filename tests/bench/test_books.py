"""The floors and the books stand on real servers; what is checked is what is counted and left behind."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from app.bench import books, floors
from app.bench.floors import Log
from app.ids import new_id
from app.log import keys
from events.completions import CompletionFinished
from events.message import Envelope


def finished() -> Envelope:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    event = CompletionFinished(
        endpoint="/v1/chat/completions",
        wire="openai",
        api_key_id=new_id(),
        tier="enterprise",
        asked_model="mock-l0-n16",
        stream=False,
        accepted_at=now,
        provider="mock",
        model="mock-l0-n16",
        input_tokens=12,
        cached_input_tokens=0,
        output_tokens=16,
        cost_nanousd=11_400,
        price_as_of=None,
        usage_source="provider",
        billable=True,
        latency_ms=3,
        ttft_ms=None,
        attempts=(),
        routing=None,
        answer="c2VhbGVk",
        http_status=200,
        finish_reason="stop",
    )
    return Envelope.begin(event, id=new_id(), at=now, account=new_id(), subject="req_0")


def tell(url: str, envelope: Envelope) -> str:
    """Append an event; its entry id."""
    log = Log(url)
    entry_id = log.ask([("XADD", keys.events(0), "*", "__data__", envelope.encode(), "type", envelope.type)])[0]
    log.close()
    assert isinstance(entry_id, bytes)
    return entry_id.decode()


async def checkpoint(database_url: str, projection: str, entry_id: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO checkpoints (projection, partition, entry_id) VALUES ($1, 0, $2)"
        " ON CONFLICT (projection, partition) DO UPDATE SET entry_id = excluded.entry_id",
        projection,
        entry_id,
    )
    await connection.close()


@pytest.mark.parametrize("measure", [floors.single_xadds_per_second, floors.pipelined_xadds_per_second])
def test_the_log_floor_writes_and_leaves_nothing(log_url: str, measure: floors.LogFloor) -> None:
    assert measure(log_url, 0.01) > 0
    log = Log(log_url)
    assert log.ask([("DBSIZE",)]) == [0]
    log.close()


async def test_the_database_floor_copies_and_leaves_nothing(database_url: str) -> None:
    assert await floors.copied_rows_per_second(database_url, 1) > 0
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'bench_floor%'") == 0
    assert await connection.fetchval("SELECT count(*) FROM usage") == 0
    await connection.close()


async def test_caught_up_waits_for_the_last_projection(log_url: str, database_url: str) -> None:
    first, last = tell(log_url, finished()), tell(log_url, finished())
    await checkpoint(database_url, "usage", last)
    await checkpoint(database_url, "archive", first)
    async with books.opened(database_url, log_url) as kept:
        await kept.caught_up("usage")
        waiting = asyncio.create_task(kept.caught_up())
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        await checkpoint(database_url, "archive", last)
        await waiting


async def test_an_empty_log_has_been_read(log_url: str, database_url: str) -> None:
    async with books.opened(database_url, log_url) as kept:
        await kept.caught_up()
        assert await kept.usage_rows() == 0


async def test_an_event_told_again_is_another_event(log_url: str, database_url: str) -> None:
    said = finished()
    tell(log_url, said)
    async with books.opened(database_url, log_url) as kept:
        await kept.tell_again(501)
        assert kept.events() == 502
        _, copy = await kept.newest_finished()
    assert copy.body == said.body
    assert copy.id != said.id
    assert copy.subject != said.subject


async def test_nothing_finished_cannot_be_told_again(log_url: str, database_url: str) -> None:
    async with books.opened(database_url, log_url) as kept:
        with pytest.raises(LookupError):
            await kept.newest_finished()
