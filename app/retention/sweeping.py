"""Tells, once a day for each account, what is older than its tier keeps it; and throws away keys that are long dead.

One rule: nothing of a read model is deleted here. A fact says what has expired, and every replay hears it at the same place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import orjson
import structlog

from app.database import CONNECT_S_MAX, Connection
from app.ids import new_id
from app.outbox import enqueue
from app.postgres import NOTICED
from events.completions import Tier
from events.message import Envelope
from events.retention import ContentExpired
from handlers.rules.admission import Limits, changed

log = structlog.get_logger()

REQUESTS_KEPT: Final = timedelta(days=730)
"""The list of requests is the access log: who asked for what and when, without its words. The guide wants two years."""

DEAD_KEYS_KEPT: Final = timedelta(days=90)
"""Keys that are revoked or expired, for their owners to look at. Usage names them by id for ever."""

EVERY_S: Final = 3600.0
AGAIN_S: Final = 60.0
"""Pause after an outage."""

PAGE: Final = 500
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('retention', 0))"

_DAY: Final = timedelta(days=1)
"""A request is accepted before it ends: it is looked for among those of a day before, too."""

_ACCOUNTS: Final = """SELECT one.id, one.tier, own.limits, swept.content_before, swept.requests_before
FROM (SELECT id, tier FROM users WHERE status <> 'deleted' UNION ALL
      SELECT id, tier FROM organizations WHERE status <> 'deleted') AS one
LEFT JOIN account_limits AS own ON own.account_id = one.id
LEFT JOIN retentions AS swept ON swept.account = one.id
WHERE one.id > $1 ORDER BY one.id LIMIT $2"""

_ANY: Final = """SELECT
EXISTS (SELECT FROM requests WHERE user_id = $1 AND id >= $2 AND id < $3)
OR EXISTS (SELECT FROM conversations WHERE user_id = $1 AND last_message_at < $4)
OR EXISTS (SELECT FROM requests WHERE user_id = $1 AND id < $5)"""

_SWEPT: Final = """INSERT INTO retentions VALUES ($1, $2, $3) ON CONFLICT (account) DO UPDATE
SET content_before = excluded.content_before, requests_before = excluded.requests_before"""


async def keep(database_url: str, tiers: Mapping[Tier, Limits]) -> None:
    """Until cancelled. Any number of processes may; one at a time does."""
    while True:
        try:
            connection = await asyncpg.connect(
                database_url, timeout=CONNECT_S_MAX, server_settings={"application_name": "helix retention", **NOTICED}
            )
            try:
                if await connection.fetchval(_LOCK):
                    await sweep(connection, tiers, datetime.now(UTC))
            finally:
                connection.terminate()
            await asyncio.sleep(EVERY_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as outage:
            log.warning("retention_interrupted", error=type(outage).__name__, again_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)


async def sweep(connection: Connection, tiers: Mapping[Tier, Limits], now: datetime) -> int:
    """Once → of how many accounts something has expired."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    told, after = 0, UUID(int=0)
    while rows := await connection.fetch(_ACCOUNTS, after, PAGE):
        for row in rows:
            own = orjson.loads(row["limits"]) if row["limits"] else {}
            days = changed(tiers[row["tier"]], tuple(own.items())).conversation_days
            before = None if days is None else midnight - timedelta(days=days)
            told += await _sweep(connection, row, before, midnight - REQUESTS_KEPT)
        after = rows[-1]["id"]
    dead = await connection.execute(
        "DELETE FROM api_keys WHERE revoked_at < $1 OR expires_at < $1", now - DEAD_KEYS_KEPT
    )
    log.info("retention_swept", accounts=told, dead_keys=int(dead.split()[-1]))
    return told


async def _sweep(
    connection: Connection, row: asyncpg.Record, before: datetime | None, requests_before: datetime
) -> bool:
    """Whether anything of this account has expired since it was looked at last."""
    swept: datetime | None = row["content_before"]
    if (swept, row["requests_before"]) == (before, requests_before):
        return False
    account = str(row["id"])
    since = "" if swept is None else _first_id(swept - _DAY)
    until = "" if before is None else _first_id(before)
    async with connection.transaction():
        found: bool = await connection.fetchval(_ANY, row["id"], since, until, before, _first_id(requests_before))
        if found:
            fact = ContentExpired(before=before, requests_before=requests_before)
            at = datetime.now(UTC)
            await enqueue(connection, Envelope.begin(fact, id=new_id(), at=at, account=account, subject=account))
        await connection.execute(_SWEPT, row["id"], before, requests_before)
    return found


def _first_id(at: datetime) -> str:
    """In front of every request that was accepted at that time or later (`app.ids.request_id`)."""
    return f"req_{int(at.timestamp() * 1000):012x}"
