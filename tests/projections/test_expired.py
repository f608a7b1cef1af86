"""What has been kept long enough is forgotten by every read model, and a replay in other batches forgets the same."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.ids import new_id
from events.message import Envelope
from events.retention import ContentExpired
from projections.conversations import CONVERSATIONS
from projections.projection import Projection
from projections.rebuild import Wish, rebuild
from projections.requests import REQUESTS
from projections.responses import RESPONSES
from projections.shadow import Stretch
from tests.projections import ALICE, BOB, NOON, MemoryLog, finished, responded, rows, running, until

DAY = timedelta(days=1)


def expired(at: datetime, *, days: int | None = 30, account: str = ALICE) -> Envelope:
    before = None if days is None else at - timedelta(days=days)
    body = ContentExpired(before=before, requests_before=at - timedelta(days=730))
    return Envelope.begin(body, id=new_id(), at=at, account=account, subject=account)


async def lived(database: AsyncEngine, log: MemoryLog) -> None:
    """Two conversations, one of which goes on; forty days later the first is over, and is begun anew."""
    log.add(*(finished(one, conversation="old") for one in (ALICE, BOB)), responded(ALICE), responded(BOB))
    log.add(finished(ALICE, conversation="long"), finished(ALICE, at=NOON + 20 * DAY, conversation="long"))
    async with running(database, log):
        await until(database, log)
        log.add(expired(NOON + 40 * DAY))
        await until(database, log)
        log.add(finished(ALICE, at=NOON + 41 * DAY, conversation="old"))
        await until(database, log)


async def test_old_words_go_and_young_ones_and_other_accounts_stay(database: AsyncEngine) -> None:
    await lived(database, MemoryLog())

    talks = "SELECT id, message_count FROM conversations WHERE user_id = '{}' ORDER BY id"
    assert await rows(database, talks.format(ALICE)) == [("long", 4), ("old", 2)]
    assert await rows(database, talks.format(BOB)) == [("old", 2)]
    assert await rows(database, "SELECT count(*) FROM conversation_messages WHERE conversation_id = 'old'") == [(4,)]
    answers = "SELECT ended_at > '2026-12-15', answer <> '' FROM requests WHERE user_id = '{}' AND wire <> 'responses'"
    assert sorted(await rows(database, answers.format(ALICE))) == [(False, False)] * 2 + [(True, True)] * 2
    assert set(await rows(database, answers.format(BOB))) == {(False, True)}
    kept = "SELECT user_id::text, answer IS NOT NULL, deleted_at IS NULL FROM responses ORDER BY 1"
    assert await rows(database, kept) == [(ALICE, False, False), (BOB, True, True)]


async def test_after_two_years_the_request_itself_goes_and_the_books_stay(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(finished(ALICE), responded(ALICE), finished(ALICE, at=NOON + 700 * DAY))
    log.add(expired(NOON + 731 * DAY, days=None))
    async with running(database, log):
        await until(database, log)

    assert await rows(database, "SELECT count(*), count(*) FILTER (WHERE answer <> '') FROM requests") == [(1, 1)]
    assert await rows(database, "SELECT count(*) FROM responses") == [(0,)]
    assert await rows(database, "SELECT count(*) FROM usage") == [(3,)]


@pytest.mark.parametrize("projection", [REQUESTS, RESPONSES, CONVERSATIONS], ids=lambda one: one.name)
async def test_a_replay_forgets_the_same(database: AsyncEngine, projection: Projection) -> None:
    log = MemoryLog()
    await lived(database, log)

    result = await rebuild(database, log, projection, 1, Wish(compare=True))

    assert result.differences is not None
    assert all(one.none and one.live_rows for one in result.differences)


async def test_a_stretch_that_is_made_anew_brings_no_expired_words_back(database: AsyncEngine) -> None:
    log = MemoryLog()
    await lived(database, log)

    result = await rebuild(database, log, REQUESTS, 1, Wish(stretch=Stretch(until=NOON + DAY), compare=True))

    assert result.differences is not None and all(one.none for one in result.differences)
    assert await rows(
        database, f"SELECT DISTINCT answer <> '' FROM requests WHERE ended_at < '{NOON + DAY}' AND user_id = '{ALICE}'"
    ) == [(False,)]
