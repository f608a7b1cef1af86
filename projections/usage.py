"""What was used and what it cost: one row for each billable request, for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from events.completions import Outcome
from projections import tables
from projections.ended import ENDS, ends
from projections.projection import Projection, Seen

_STATUS: Final[dict[Outcome, str]] = {"completed": "success", "failed": "error", "cancelled": "cancelled"}

_UNNAMED: Final = "unknown"
"""Tokens that were used are billed, even if the event does not say whose they were."""

_INSERT: Final = """
INSERT INTO usage (
  id, event_id, user_id, api_key_id, endpoint, model, provider, prompt_tokens, completion_tokens, total_tokens,
  cost_usd, latency_ms, status, created_at, request_id, attempt_count, usage_source, cached,
  cached_input_tokens, cache_write_tokens, metered, price_version, price_as_of, saved_usd, question_digest, own_key
)
SELECT
  event_id, event_id, user_id, api_key_id, endpoint, model, provider, input_tokens, output_tokens,
  input_tokens + output_tokens, cost_nanousd * 0.000000001, latency_ms, status, created_at, request_id,
  attempt_count, usage_source, cached, cached_input_tokens, cache_write_tokens, metered::jsonb, price_version,
  price_as_of, saved_nanousd * 0.000000001, question_digest, own_key
FROM unnest(
  $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[],
  $10::bigint[], $11::text[], $12::timestamptz[], $13::text[], $14::integer[], $15::text[],
  $16::boolean[], $17::bigint[], $18::bigint[], $19::text[], $20::text[], $21::text[], $22::bigint[], $23::text[],
  $24::boolean[]
) AS row (
  event_id, user_id, api_key_id, endpoint, model, provider, input_tokens, output_tokens, cost_nanousd,
  latency_ms, status, created_at, request_id, attempt_count, usage_source, cached, cached_input_tokens,
  cache_write_tokens, metered, price_version, price_as_of, saved_nanousd, question_digest, own_key
)
ON CONFLICT DO NOTHING
"""


async def apply(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    rows = [
        (
            said.id,
            said.account,
            ended.api_key_id,
            ended.endpoint,
            ended.model or ended.asked_model,
            ended.provider or _UNNAMED,
            ended.input_tokens,
            ended.output_tokens,
            ended.cost_nanousd,
            ended.latency_ms,
            _STATUS[ended.outcome],
            said.at,
            said.subject,
            len(ended.attempts),
            ended.usage_source,
            ended.cached,
            ended.cached_input_tokens,
            ended.cache_write_tokens,
            ended.metered.model_dump_json() if ended.metered else None,
            ended.price_version,
            ended.price_as_of,
            ended.saved_nanousd,
            ended.question_digest,
            ended.own_key,
        )
        for _, said, ended in ends(batch)
        if ended.billable
    ]
    if rows:
        await connection.exec_driver_sql(_INSERT, tuple(zip(*rows, strict=True)))


USAGE: Final = Projection(name="usage", tables=(tables.usage,), apply=apply, wants=ENDS, times=("created_at",))
