"""Limits that an account has instead of its tier's, as a row that the operator writes.

One rule: the change and the fact that tells it commit in one transaction.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import orjson

from app.database import Connection
from app.ids import new_id
from app.outbox import enqueue
from events.limits import LimitsSet
from events.message import Envelope
from handlers.rules.admission import Changes


async def find_limits(connection: Connection, account: str) -> Changes:
    """Empty: it has what its tier has."""
    row: str | None = await connection.fetchval(
        "SELECT limits FROM account_limits WHERE account_id = $1", UUID(account)
    )
    return () if row is None else tuple(sorted(orjson.loads(row).items()))


async def set_limits(connection: Connection, account: str, limits: Changes, *, by: str) -> None:
    """These, and no others; none: the tier's again."""
    async with connection.transaction():
        if limits:
            await connection.execute(
                """INSERT INTO account_limits (account_id, limits) VALUES ($1, $2)
                ON CONFLICT (account_id) DO UPDATE SET limits = EXCLUDED.limits, updated_at = now()""",
                UUID(account),
                orjson.dumps(dict(limits)).decode(),
            )
        else:
            await connection.execute("DELETE FROM account_limits WHERE account_id = $1", UUID(account))
        fact = LimitsSet(limits=tuple(sorted(limits)), by=by)
        at = datetime.now(UTC)
        await enqueue(connection, Envelope.begin(fact, id=new_id(), at=at, account=account, subject=account))
