"""Every request that has ended: what was asked for, how it went, and the sealed answer. Running ones are on the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import TypeAdapter
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.completions import (
    Attempt,
    CompletionEnded,
    CompletionFailed,
    CompletionFinished,
    Outcome,
    Routing,
    Tier,
    UsageSource,
    Wire,
)
from events.message import Envelope, sealed_bytes
from projections import tables
from projections.ended import ENDS, ends
from projections.expiring import EXPIRES, stretches
from projections.projection import Projection, Seen
from projections.responses import is_kept

_ATTEMPTS: Final = TypeAdapter(tuple[Attempt, ...])

_COLUMNS: Final = {
    "id": "text",
    "user_id": "uuid",
    "api_key_id": "uuid",
    "endpoint": "text",
    "wire": "text",
    "tier": "text",
    "asked_model": "text",
    "model": "text",
    "provider": "text",
    "stream": "boolean",
    "status": "text",
    "http_status": "integer",
    "finish_reason": "text",
    "why": "text",
    "conversation_id": "text",
    "input_tokens": "bigint",
    "cached_input_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "output_tokens": "bigint",
    "cost_nanousd": "bigint",
    "price_as_of": "text",
    "usage_source": "text",
    "billable": "boolean",
    "latency_ms": "bigint",
    "ttft_ms": "bigint",
    "attempts": "text",
    "routing": "text",
    "answer": "bytea",
    "created_at": "timestamptz",
    "ended_at": "timestamptz",
    "event_id": "uuid",
    "partition": "smallint",
    "entry_id": "text",
}
"""What `_row` gives, in its order; three of them are cast on their way into the table."""

_CASTS: Final = {
    "cost_nanousd": "cost_nanousd * 0.000000001",
    "attempts": "attempts::jsonb",
    "routing": "routing::jsonb",
}

_INSERT: Final = f"""
INSERT INTO requests ({", ".join("cost_usd" if name == "cost_nanousd" else name for name in _COLUMNS)})
SELECT {", ".join(_CASTS.get(name, name) for name in _COLUMNS)}
FROM unnest({", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_COLUMNS.values(), 1))})
  AS row ({", ".join(_COLUMNS)})
ON CONFLICT DO NOTHING
"""  # noqa: S608  # put together from the constants above


_EMPTY: Final = "UPDATE requests SET answer = '' WHERE user_id = $1 AND ended_at < $2 AND answer <> ''"
_DELETE: Final = "DELETE FROM requests WHERE user_id = $1 AND ended_at < $2"


async def apply(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    for some, expired in stretches(batch):
        rows = [_row(seen, said, ended) for seen, said, ended in ends(some)]
        if rows:
            await connection.exec_driver_sql(_INSERT, tuple(zip(*rows, strict=True)))
        if expired is not None:
            said, fact = expired
            await connection.exec_driver_sql(_DELETE, (said.account, fact.requests_before))
            if fact.before is not None:
                await connection.exec_driver_sql(_EMPTY, (said.account, fact.before))


def _row(seen: Seen, said: Envelope, ended: CompletionEnded) -> tuple[object, ...]:
    finished = ended if isinstance(ended, CompletionFinished) else None
    return (
        said.subject,
        said.account,
        ended.api_key_id,
        ended.endpoint,
        ended.wire,
        ended.tier,
        ended.asked_model,
        ended.model,
        ended.provider,
        ended.stream,
        ended.outcome,
        ended.http_status,
        finished.finish_reason if finished else None,
        ended.why if isinstance(ended, CompletionFailed) else None,
        finished.conversation.conversation if finished and finished.conversation else None,
        ended.input_tokens,
        ended.cached_input_tokens,
        ended.cache_write_tokens,
        ended.output_tokens,
        ended.cost_nanousd,
        ended.price_as_of,
        ended.usage_source,
        ended.billable,
        ended.latency_ms,
        ended.ttft_ms,
        _ATTEMPTS.dump_json(ended.attempts).decode(),
        ended.routing.model_dump_json() if ended.routing else None,
        b"" if is_kept(ended) else sealed_bytes(ended.answer),
        ended.accepted_at,
        said.at,
        said.id,
        seen.partition,
        seen.entry_id,
    )


REQUESTS: Final = Projection(
    name="requests",
    tables=(tables.requests,),
    apply=apply,
    wants=ENDS | EXPIRES,
    times=("ended_at",),
    account_column="user_id",
)


# Queries.


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One ended request, as its account may see it. `answer` is sealed; it is empty when it is deleted or has expired."""

    id: str
    api_key_id: str
    endpoint: str
    wire: Wire
    tier: Tier
    asked_model: str
    model: str | None
    provider: str | None
    stream: bool
    status: Outcome
    http_status: int
    finish_reason: str | None
    why: str | None
    conversation_id: str | None
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_nanousd: int
    usage_source: UsageSource
    billable: bool
    latency_ms: int
    ttft_ms: int | None
    attempts: tuple[Attempt, ...]
    routing: Routing | None
    answer: bytes = field(repr=False)
    created_at: datetime
    ended_at: datetime
    cached: bool = False
    """Answered from the response cache."""


_SELECT: Final = """
SELECT id, api_key_id::text, endpoint, wire, tier, asked_model, model, provider, stream, status, http_status,
  finish_reason, why, conversation_id, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, cost_usd,
  usage_source, billable, latency_ms, ttft_ms, attempts::text, routing::text,
  coalesce((SELECT kept.answer FROM responses AS kept WHERE kept.id = requests.id), answer) AS answer,
  EXISTS (SELECT FROM usage WHERE event_id = requests.event_id AND usage.created_at = ended_at AND cached) AS cached,
  created_at, ended_at
FROM requests WHERE user_id = CAST(:account AS uuid)
"""

_NANO: Final = Decimal(10**9)


def _read(row: Row[Any]) -> RequestRow:  # Any: the driver's row has no types of its own
    named = row._asdict()
    named["cost_nanousd"] = int(named.pop("cost_usd") * _NANO)
    named["attempts"] = _ATTEMPTS.validate_json(named["attempts"])
    named["routing"] = Routing.model_validate_json(named["routing"]) if named["routing"] else None
    return RequestRow(**named)


async def find(connection: AsyncConnection, account: str, request_id: str) -> RequestRow | None:
    """One request; None when it has not ended, is unknown, or is another account's."""
    found = await connection.execute(text(f"{_SELECT} AND id = :id"), {"account": account, "id": request_id})
    row = found.one_or_none()
    return _read(row) if row else None


async def newest(
    connection: AsyncConnection,
    account: str,
    *,
    limit: int,
    after: str | None = None,
    status: Literal["completed", "failed", "cancelled"] | None = None,
    model: str | None = None,
) -> list[RequestRow]:
    """An account's ended requests, newest first, those behind the request id `after`; `model` as asked for."""
    wanted = _SELECT
    if after is not None:
        wanted += " AND id < :after"
    if status is not None:
        wanted += " AND status = :status"
    if model is not None:
        wanted += " AND asked_model = :model"
    given = {"account": account, "limit": limit, "after": after, "status": status, "model": model}
    found = await connection.execute(
        text(f"{wanted} ORDER BY id DESC LIMIT :limit"),
        {name: value for name, value in given.items() if value is not None},
    )
    return [_read(row) for row in found]
