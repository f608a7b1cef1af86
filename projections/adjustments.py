"""Corrections of what requests cost, each a row of its own. One rule: of two that adjust the same entry the first counts.

So the sum of a usage row's adjustments is always what its newest one says, however often each was published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from events.billing import UsageAdjusted
from projections import tables
from projections.projection import Projection, Seen

_INSERT: Final = """
INSERT INTO usage_adjustments (
  usage_event_id, follows, event_id, request_id, user_id, api_key_id, provider, model, price_version, price_as_of,
  amount_usd, cost_usd, used_at, created_at
)
SELECT
  usage_event_id, follows, event_id, request_id, user_id, api_key_id, provider, model, price_version, price_as_of,
  amount_nanousd * 0.000000001, cost_nanousd * 0.000000001, used_at, created_at
FROM unnest(
  $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::uuid[], $7::text[], $8::text[], $9::text[],
  $10::text[], $11::bigint[], $12::bigint[], $13::timestamptz[], $14::timestamptz[]
) AS row (
  usage_event_id, follows, event_id, request_id, user_id, api_key_id, provider, model, price_version, price_as_of,
  amount_nanousd, cost_nanousd, used_at, created_at
)
ON CONFLICT DO NOTHING
"""


async def apply(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    rows = [
        (
            adjusted.usage_event,
            adjusted.follows,
            said.id,
            said.subject,
            said.account,
            adjusted.api_key_id,
            adjusted.provider,
            adjusted.model,
            adjusted.price_version,
            adjusted.price_as_of,
            adjusted.cost_nanousd - adjusted.cost_before_nanousd,
            adjusted.cost_nanousd,
            adjusted.used_at,
            said.at,
        )
        for said in (seen.envelope for seen in batch)
        if isinstance(adjusted := said.body, UsageAdjusted)
    ]
    if rows:
        await connection.exec_driver_sql(_INSERT, tuple(zip(*rows, strict=True)))


USAGE_ADJUSTMENTS: Final = Projection(
    name="usage_adjustments",
    tables=(tables.usage_adjustments,),
    apply=apply,
    wants=frozenset({UsageAdjusted.type}),
    times=("created_at",),
)
