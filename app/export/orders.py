"""An export as its account knows it: ordered, looked at, fetched.

One rule: an export is its account's alone; another's is as unknown as one that never was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import asyncpg

from app.database import Connection, Pool, borrowed
from app.ids import new_id
from app.outbox import enqueue
from app.vault import Box
from events.export import ExportRequested
from events.message import Envelope

KEPT: Final = timedelta(days=7)
"""How long an export can be fetched: a holiday, not a second archive."""

FRESH: Final = timedelta(minutes=10)
"""Asked again so soon, the same export is given: making one reads everything that the account holds."""

Status = Literal["queued", "running", "ready", "failed"]

KIND: Final = "export"
"""What its pieces are sealed as."""


class ExportUnknown(Exception):
    """The account has no such export, or it is over."""


@dataclass(frozen=True, slots=True)
class Export:
    id: str
    status: Status
    asked_at: datetime
    ready_at: datetime | None
    expires_at: datetime
    bytes: int | None
    sha256: str | None
    made_in: int | None
    """Which try made it; its pieces bear the number."""


_SELECT: Final = "SELECT id, status, asked_at, ready_at, expires_at, bytes, sha256, made_in FROM exports"


async def order(connection: Connection, account: str, *, by: str) -> Export:
    """The export that is under way or fresh; else a new one."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('export ' || $1, 0))", account)
        row = await connection.fetchrow(
            _SELECT
            + """ WHERE account = $1
            AND (status IN ('queued', 'running') OR (status = 'ready' AND asked_at > now() - $2::interval))
            ORDER BY asked_at DESC LIMIT 1""",
            UUID(account),
            FRESH,
        )
        if row is None:
            id = new_id()
            await connection.execute(
                "INSERT INTO exports (id, account, asked_by, expires_at) VALUES ($1, $2, $3, now() + $4::interval)",
                UUID(id),
                UUID(account),
                by,
                KEPT,
            )
            fact = ExportRequested(export_id=id, by=by)
            await enqueue(
                connection, Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=account, subject=id)
            )
            row = await connection.fetchrow(_SELECT + " WHERE id = $1", UUID(id))
    return _export(row)


async def find(connection: Connection, account: str, id: str) -> Export:
    """Raises ExportUnknown."""
    try:
        row = await connection.fetchrow(
            _SELECT + " WHERE account = $1 AND id = $2 AND expires_at > now()", UUID(account), UUID(id)
        )
    except ValueError:
        raise ExportUnknown from None
    return _export(row)


async def pieces(pool: Pool, box: Box, export: Export) -> AsyncIterator[bytes]:
    """The file of an export that is ready, piece by piece; one is in memory at a time."""
    assert export.made_in is not None
    number = 0
    while True:
        async with borrowed(pool) as connection:
            sealed = await connection.fetchval(
                "SELECT content FROM export_pieces WHERE export_id = $1 AND try = $2 AND number = $3",
                UUID(export.id),
                export.made_in,
                number,
            )
        if sealed is None:
            return
        yield box.open(KIND, place(export.id, export.made_in, number), sealed)
        number += 1


def place(id: str, attempt: int, number: int) -> str:
    """What a piece is bound to, so that none can be moved."""
    return f"{id}/{attempt}/{number}"


def _export(row: asyncpg.Record | None) -> Export:
    if row is None:
        raise ExportUnknown
    return Export(**{**dict(row), "id": str(row["id"])})
