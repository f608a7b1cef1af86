"""An account that is erased stays erased, wherever on the log it is told of, and nobody else's rows go."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from projections.conversations import CONVERSATIONS
from projections.rebuild import Wish, rebuild
from projections.requests import REQUESTS
from projections.responses import RESPONSES
from projections.usage import USAGE
from tests.projections import ALICE, BOB, MemoryLog, erased, finished, responded, rows, running, until

FORGOTTEN = ("requests", "responses", "conversations", "conversation_messages")
OF_ALICE = f"user_id = '{ALICE}'"


async def left(database: AsyncEngine, where: str) -> dict[str, int]:
    """Rows of the tables that hold what people said."""
    found = {}
    for table in FORGOTTEN:
        [(count,)] = await rows(database, f"SELECT count(*) FROM {table} WHERE {where}")
        assert isinstance(count, int)
        found[table] = count
    return found


async def test_the_fact_of_an_erasure_takes_what_was_said_before_and_after_it(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(finished(ALICE, conversation="talk"), responded(ALICE), finished(BOB, conversation="talk"), responded(BOB))
    async with running(database, log):
        await until(database, log)
        log.add(erased())
        await until(database, log)
        log.add(finished(ALICE, conversation="talk"), responded(ALICE))
        await until(database, log)

    assert set((await left(database, OF_ALICE)).values()) == {0}
    assert (await left(database, f"user_id = '{BOB}'"))["requests"] == 2
    assert await rows(database, f"SELECT count(*) FROM usage WHERE {OF_ALICE}") == [(4,)], "the books stay"


async def test_in_one_batch_the_order_does_not_matter(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(finished(ALICE, conversation="talk"), erased(), finished(ALICE), responded(ALICE), finished(BOB))
    async with running(database, log):
        await until(database, log)

    assert set((await left(database, OF_ALICE)).values()) == {0}
    assert await rows(database, "SELECT account::text FROM erased_accounts") == [(ALICE,)]


async def test_a_tombstone_that_the_log_does_not_tell_of_yet_counts_already(database: AsyncEngine) -> None:
    log = MemoryLog()
    async with database.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO erasures VALUES (:account, 'person', now(), 'operator', now(), 'active', NULL, now(), '{}')"
            ),
            {"account": ALICE},
        )
    log.add(finished(ALICE, conversation="talk"), finished(BOB))
    async with running(database, log):
        await until(database, log)

    assert set((await left(database, OF_ALICE)).values()) == {0}
    assert await rows(database, "SELECT user_id::text FROM requests") == [(BOB,)]


async def test_a_replay_from_the_beginning_brings_nobody_back(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(finished(ALICE, conversation="talk"), responded(ALICE), finished(BOB, conversation="talk"))
    async with running(database, log):
        await until(database, log)
    log.add(erased(), finished(ALICE))
    async with running(database, log):
        await until(database, log)

    for projection in (REQUESTS, RESPONSES, CONVERSATIONS, USAGE):
        result = await rebuild(database, log, projection, 1, Wish(compare=True))
        assert all(one.none for one in result.differences or ()), projection.name

    assert set((await left(database, OF_ALICE)).values()) == {0}
    assert (await left(database, f"user_id = '{BOB}'"))["conversation_messages"] > 0
