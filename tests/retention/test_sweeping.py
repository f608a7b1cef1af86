"""What the sweeper tells of, how often, and which keys it throws away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from app import accounts
from app.database import Connection
from app.retention.sweeping import sweep
from events.catalog import read
from events.message import Envelope
from events.retention import ContentExpired
from handlers.rules.admission import TIERS

NOW = datetime(2026, 11, 23, 1, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database_url)
    try:
        yield opened
    finally:
        await opened.close()


async def person(connection: Connection, name: str, tier: str, talked: datetime) -> str:
    """Somebody whose only conversation ended then."""
    user = await accounts.create_user(connection, f"{name}@example.org")
    await connection.execute("UPDATE users SET tier = $2 WHERE id = $1", UUID(user.id), tier)
    await connection.execute(
        """INSERT INTO conversations (id, user_id, message_count, last_message_at, created_at, updated_at)
        VALUES ('talk', $1, 1, $2, $2, $2)""",
        UUID(user.id),
        talked,
    )
    return user.id


async def told(connection: Connection) -> dict[str, ContentExpired]:
    """Account → what has expired, of what was told since the last time."""
    rows = await connection.fetch("DELETE FROM outbox RETURNING envelope")
    said: list[Envelope] = [read(row["envelope"]) for row in rows]
    return {one.account: one.body for one in said if isinstance(one.body, ContentExpired)}


async def test_each_tier_keeps_as_long_as_it_says(connection: Connection) -> None:
    free = await person(connection, "free", "free", NOW - 32 * DAY)
    await person(connection, "young", "free", NOW - 29 * DAY)
    await person(connection, "pro", "pro", NOW - 32 * DAY)
    await person(connection, "big", "enterprise", NOW - 3000 * DAY)
    own = await person(connection, "own", "enterprise", NOW - 9 * DAY)
    await connection.execute("INSERT INTO account_limits VALUES ($1, $2)", UUID(own), '{"conversation_days": 7}')
    await told(connection)

    assert await sweep(connection, TIERS, NOW) == 2

    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    found = await told(connection)
    assert {account: fact.before for account, fact in found.items()} == {
        free: midnight - 30 * DAY,
        own: midnight - 7 * DAY,
    }
    assert {fact.requests_before for fact in found.values()} == {midnight - 730 * DAY}


async def test_it_tells_once_a_day_and_only_of_what_is_there(connection: Connection) -> None:
    free = await person(connection, "free", "free", NOW - 32 * DAY)
    await sweep(connection, TIERS, NOW)
    await told(connection)

    assert await sweep(connection, TIERS, NOW) == 0
    await connection.execute("DELETE FROM conversations")
    assert await sweep(connection, TIERS, NOW + DAY) == 0
    assert await told(connection) == {}
    id = f"req_{int((NOW - 29 * DAY).timestamp() * 1000):012x}" + "0" * 20
    await connection.execute(
        """INSERT INTO requests SELECT (jsonb_populate_record(NULL::requests, jsonb_build_object(
        'id', $1::text, 'user_id', $2::text, 'api_key_id', $2::text, 'endpoint', '', 'wire', '', 'tier', '',
        'asked_model', '', 'stream', false, 'status', 'completed', 'http_status', 200, 'input_tokens', 0,
        'cached_input_tokens', 0, 'cache_write_tokens', 0, 'output_tokens', 0, 'cost_usd', 0, 'usage_source', '',
        'billable', true, 'latency_ms', 0, 'attempts', '[]'::jsonb, 'answer', 'x', 'created_at', $3::text,
        'ended_at', $3::text, 'event_id', $2::text, 'partition', 0, 'entry_id', ''))).*""",
        id,
        free,
        (NOW - 29 * DAY).isoformat(),
    )
    assert await sweep(connection, TIERS, NOW + DAY) == 0, "that day has been looked at"
    assert await sweep(connection, TIERS, NOW + 2 * DAY) == 1
    assert set(await told(connection)) == {free}


async def test_keys_that_are_long_dead_go(connection: Connection) -> None:
    user = await accounts.create_user(connection, "alice@example.org")
    for number, (revoked, expires) in enumerate(
        ((None, None), (NOW - 91 * DAY, None), (None, NOW - 91 * DAY), (NOW - 89 * DAY, None), (None, NOW + DAY))
    ):
        await connection.execute(
            "INSERT INTO api_keys (user_id, key_hash, key_prefix, revoked_at, expires_at) VALUES ($1, $2, $2, $3, $4)",
            UUID(user.id),
            str(number),
            revoked,
            expires,
        )

    await sweep(connection, TIERS, NOW)

    left = await connection.fetch("SELECT key_hash FROM api_keys ORDER BY key_hash")
    assert [row["key_hash"] for row in left] == ["0", "3", "4"]
