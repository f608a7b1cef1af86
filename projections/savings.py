"""What its response cache has saved an account: read from `usage`, which the projection of that name keeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_NANO: Final = Decimal(10**9)

_SELECT: Final = """
SELECT count(*) AS requests, count(*) FILTER (WHERE cached) AS hits, coalesce(sum(saved_usd), 0) AS saved_usd
FROM usage WHERE user_id = CAST(:account AS uuid) AND created_at >= :since
"""


@dataclass(frozen=True, slots=True)
class Savings:
    requests: int
    """Billable ones, given answers included."""
    hits: int
    """Answered from the cache."""
    saved_nanousd: int
    """What the given answers had cost."""


async def savings(connection: AsyncConnection, account: str, since: datetime) -> Savings:
    """Of the requests that have ended since then, as far as the projection has come."""
    row = (await connection.execute(text(_SELECT), {"account": account, "since": since})).one()
    return Savings(row.requests, row.hits, int(row.saved_usd * _NANO))
