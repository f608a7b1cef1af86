"""Corrections of what requests cost, each a row of its own. One rule: of two that adjust the same entry the first counts.

So the sum of a usage row's adjustments is always what its newest one says, however often each was published.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.billing import UsageAdjusted
from events.completions import Metered
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


# Queries.

PAGE: Final = 1000
"""Rows in one read: a round trip costs more than they do, and they fit into memory."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One request that a provider was paid for, as it stands today."""

    usage_event: str
    used_at: datetime
    request: str
    account: str
    endpoint: str
    api_key_id: str
    provider: str
    model: str
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    metered: Metered | None
    last_entry: str
    """The event whose cost would be adjusted: its own, or its newest adjustment."""
    cost_nanousd: int
    """With every adjustment."""


_STANDING: Final = """
SELECT used.event_id::text AS usage_event, used.created_at AS used_at, used.request_id AS request,
  used.user_id::text AS account, used.endpoint, used.api_key_id::text, used.provider, used.model,
  used.prompt_tokens AS input_tokens, used.cached_input_tokens, used.cache_write_tokens, used.completion_tokens AS output_tokens,
  used.metered::text, coalesce(newest.event_id, used.event_id)::text AS last_entry,
  coalesce(newest.cost_usd, used.cost_usd) AS cost_usd
FROM usage AS used LEFT JOIN LATERAL (
  SELECT event_id, cost_usd FROM usage_adjustments AS one
  WHERE one.usage_event_id = used.event_id AND NOT EXISTS (
    SELECT FROM usage_adjustments AS later
    WHERE later.usage_event_id = one.usage_event_id AND later.follows = one.event_id
  )
) AS newest ON true
WHERE NOT used.cached AND NOT used.own_key AND used.created_at >= :since AND used.created_at < :until
  AND (used.created_at, used.event_id) > (:behind_at, CAST(:behind AS uuid))
  AND (CAST(:provider AS text) IS NULL OR used.provider = :provider)
  AND (CAST(:model AS text) IS NULL OR used.model = :model)
  AND (CAST(:account AS uuid) IS NULL OR used.user_id = CAST(:account AS uuid))
ORDER BY used.created_at, used.event_id LIMIT :page
"""
"""An answer from the response cache cost nothing, whatever the price; nor does the price list say what a request under the
customer's own key costs."""


async def standing(
    connection: AsyncConnection,
    *,
    since: datetime,
    until: datetime,
    provider: str | None = None,
    model: str | None = None,
    account: str | None = None,
) -> AsyncIterator[list[Standing]]:
    """Requests that ended from `since` on and before `until`, oldest first, page by page."""
    behind_at, behind = since, str(UUID(int=0))
    while True:
        found = await connection.execute(
            text(_STANDING),
            {
                "since": since,
                "until": until,
                "behind_at": behind_at,
                "behind": behind,
                "provider": provider,
                "model": model,
                "account": account,
                "page": PAGE,
            },
        )
        rows = [_standing(row) for row in found]
        if not rows:
            return
        yield rows
        behind_at, behind = rows[-1].used_at, rows[-1].usage_event


def _standing(row: Row[Any]) -> Standing:  # Any: the driver's row has no types of its own
    named = row._asdict()
    named["metered"] = Metered.model_validate_json(named["metered"]) if named["metered"] else None
    named["cost_nanousd"] = int(named.pop("cost_usd").scaleb(9))
    return Standing(**named)
