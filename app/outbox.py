"""Facts about rows of Postgres on their way to the log.

One rule: a fact is written in the transaction that makes it true, and leaves the table only after the log has it. A
crash between the two says it twice under one event id, which every reader knows to be one.
"""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from app.database import CONNECT_S_MAX, Connection
from app.log import Log, LogGone
from app.log.connection import LogRefused
from app.postgres import NOTICED
from events.catalog import FromTheFuture, Unreadable, read
from events.message import Envelope

log = structlog.get_logger()

CHANNEL: Final = "helix_outbox"

BATCH: Final = 100
"""Facts in one transaction; they leave in one write."""

POLL_S: Final = 5.0
"""How long a fact waits when its notification was lost or its writer gave none."""

AGAIN_S: Final = 1.0
"""Pause after an outage of Postgres or the log."""


async def enqueue(connection: Connection, envelope: Envelope) -> None:
    """Say a fact once the connection's transaction commits; not at all when it does not."""
    await connection.execute(
        "WITH kept AS (INSERT INTO outbox (id, envelope) VALUES ($1, $2) RETURNING id)"
        " SELECT pg_notify($3, '') FROM kept",
        UUID(envelope.id),
        envelope.encode(),
        CHANNEL,
    )


async def publish_always(database_url: str, to: Log) -> None:
    """Publish facts as they are committed, until cancelled. Any number of processes may do so at once."""
    while True:
        try:
            await _publish_while_connected(database_url, to)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, LogGone, LogRefused) as outage:
            log.warning("outbox_interrupted", error=type(outage).__name__, again_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)


async def _publish_while_connected(database_url: str, to: Log) -> None:
    more = asyncio.Event()
    connection = await asyncpg.connect(
        database_url, timeout=CONNECT_S_MAX, server_settings={"application_name": "helix outbox", **NOTICED}
    )
    try:
        await connection.add_listener(CHANNEL, lambda *_: more.set())
        while True:
            more.clear()
            while await publish(connection, to) == BATCH:
                pass
            if not await _wake(more) and connection.is_closed():
                raise ConnectionResetError("Postgres closed the connection")
    finally:
        connection.terminate()


async def _wake(more: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(POLL_S):  # asyncio.wait_for of 3.11 may swallow a cancellation
            await more.wait()
    except TimeoutError:
        return False
    return True


async def publish(connection: Connection, to: Log) -> int:
    """Publish the oldest facts that nobody else is publishing → how many were taken. What only a newer process can read stays.

    Raises LogGone when a fact's server is away, after the others have been published."""
    async with connection.transaction():
        rows = await connection.fetch(
            "SELECT id, envelope FROM outbox ORDER BY created_at, id LIMIT $1 FOR UPDATE SKIP LOCKED", BATCH
        )
        facts: list[Envelope] = []
        newer: set[UUID] = set()
        for row in rows:
            try:
                facts.append(read(row["envelope"]))
            except FromTheFuture as reason:
                newer.add(row["id"])  # a web newer than us wrote it; a projector of its age is on its way
                log.warning("outbox_row_from_the_future", id=str(row["id"]), reason=str(reason))
            except Unreadable as reason:
                log.error("outbox_row_unreadable", id=str(row["id"]), reason=str(reason))
                await connection.execute(
                    "INSERT INTO unreadable VALUES ('outbox', 0, $1, $2, $3) ON CONFLICT DO NOTHING",
                    str(row["id"]),
                    str(reason),
                    row["envelope"],
                )
        said = await asyncio.gather(*(to.publish(fact) for fact in facts), return_exceptions=True)
        # Of a cluster one node may be away: its facts wait, and the others' are not said again every second.
        waiting = {UUID(fact.id): one for fact, one in zip(facts, said, strict=True) if isinstance(one, BaseException)}
        published = [row["id"] for row in rows if row["id"] not in waiting and row["id"] not in newer]
        await connection.execute("DELETE FROM outbox WHERE id = ANY($1::uuid[])", published)
    if len(facts) > len(waiting):
        log.info("outbox_published", facts=len(facts) - len(waiting))
    for outage in waiting.values():
        raise outage
    return len(rows) - len(newer)
