"""How quick each provider's models have been, over the requests that have ended. Queries only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_SELECT: Final = """
SELECT provider, model, count(*) AS requests,
  coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY ttft_ms), 0) AS ttft_ms,
  percentile_cont(0.5) WITHIN GROUP (
    ORDER BY greatest(0, latency_ms - coalesce(ttft_ms, 0))::float / greatest(1, output_tokens)
  ) AS ms_a_token
FROM requests
WHERE status = 'completed' AND billable AND provider IS NOT NULL AND model IS NOT NULL
  AND ended_at >= :since AND ended_at < :until
GROUP BY provider, model
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians of one model, over all accounts."""

    provider: str
    model: str
    requests: int
    ttft_ms: float
    """0 where nothing was streamed."""
    ms_a_token: float


async def measured(connection: AsyncConnection, *, since: datetime, until: datetime) -> list[Measured]:
    found = await connection.execute(text(_SELECT), {"since": since, "until": until})
    return [Measured(**row._asdict()) for row in found]
