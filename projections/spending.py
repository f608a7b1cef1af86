"""What was spent, over usage rows and the entries that adjust them. Queries only: the rows are other projections'."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.completions import Metered

GroupBy = Literal["model", "day", "key", "provider"]

_GROUPS: Final[dict[GroupBy, str]] = {
    "model": "used.provider || '/' || used.model",
    "day": "to_char(used.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "key": "used.api_key_id::text",
    "provider": "used.provider",
}

_USED: Final = """
FROM usage AS used LEFT JOIN LATERAL (
  SELECT coalesce(sum(amount_usd), 0) AS amount_usd FROM usage_adjustments AS one
  WHERE one.usage_event_id = used.event_id
) AS adjusted ON true
WHERE used.user_id = CAST(:account AS uuid) AND used.created_at >= :since AND used.created_at < :until
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """One group of an account's requests."""

    group: str
    requests: int
    cached_requests: int
    """Answered from the response cache."""
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_nanousd: int
    """With every adjustment."""
    adjusted_nanousd: int
    """Of the cost: what adjustments have added or taken away."""
    saved_nanousd: int
    """What the response cache has saved."""


async def spent(
    connection: AsyncConnection, account: str, *, since: datetime, until: datetime, group_by: GroupBy
) -> list[Spent]:
    """By group, in the groups' own order."""
    found = await connection.execute(
        text(
            f"SELECT {_GROUPS[group_by]} AS group, count(*) AS requests,"  # one of the constants above
            " count(*) FILTER (WHERE used.cached) AS cached_requests, sum(used.prompt_tokens) AS input_tokens,"
            " sum(used.cached_input_tokens) AS cached_input_tokens, sum(used.completion_tokens) AS output_tokens,"
            " sum(used.cost_usd + adjusted.amount_usd) AS cost_usd, sum(adjusted.amount_usd) AS adjusted_usd,"
            f" sum(used.saved_usd) AS saved_usd {_USED} GROUP BY 1 ORDER BY 1"
        ),
        {"account": account, "since": since, "until": until},
    )
    return [Spent(**_whole(row)) for row in found]


@dataclass(frozen=True, slots=True)
class Shape:
    """An account's requests of one model, size and service, added up; those from the response cache left out."""

    provider: str
    model: str
    embedding: bool
    requests: int
    since: datetime
    """When the first of them ended."""
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    largest_tokens: int
    """Input and output of the largest request."""
    cost_nanousd: int
    metered: Metered


_COUNTS: Final = (*(name for name in Metered.model_fields if name.endswith("_tokens")), "searches")

_SHAPES: Final = f"""
SELECT used.provider, used.model, used.endpoint = '/v1/embeddings' AS embedding, count(*) AS requests,
  min(used.created_at) AS since, sum(used.prompt_tokens) AS input_tokens,
  sum(used.cached_input_tokens) AS cached_input_tokens, sum(used.cache_write_tokens) AS cache_write_tokens,
  sum(used.completion_tokens) AS output_tokens, max(used.total_tokens) AS largest_tokens,
  sum(used.cost_usd + adjusted.amount_usd) AS cost_usd,
  coalesce(used.metered->>'service', 'standard') AS service, used.metered->>'search_size' AS search_size,
  coalesce(used.metered->>'marks', '[]') AS marks,
  {", ".join(f"sum(coalesce((used.metered->>'{name}')::bigint, 0)) AS {name}" for name in _COUNTS)}
{_USED} AND NOT used.cached
GROUP BY used.provider, used.model, embedding, service, search_size, marks,
  width_bucket(used.prompt_tokens, CAST(:sizes AS bigint[]))
"""  # put together from the names of fields


async def shapes(
    connection: AsyncConnection, account: str, *, since: datetime, until: datetime, sizes: Sequence[int]
) -> list[Shape]:
    """`sizes`: input tokens at which some price changes, ascending; requests of a shape lie between two of them."""
    found = await connection.execute(
        text(_SHAPES), {"account": account, "since": since, "until": until, "sizes": list(sizes)}
    )
    return [_shape(row) for row in found]


def _shape(row: Row[Any]) -> Shape:  # Any: the driver's row has no types of its own
    named = _whole(row)
    metered = {name: named.pop(name) for name in (*_COUNTS, "service", "search_size", "marks")}
    return Shape(**named, metered=Metered.model_validate({**metered, "marks": json.loads(metered["marks"])}))


@dataclass(frozen=True, slots=True)
class Repeats:
    """Equal questions of one account. `compared`: those of which it is known whether they are equal."""

    compared: int
    repeated: int
    """Asked again soon enough after an equal one had been answered."""
    cost_nanousd: int
    """Of the repeated ones."""


_REPEATS: Final = f"""
SELECT count(*) AS compared, count(*) FILTER (WHERE again) AS repeated,
  coalesce(sum(cost_usd) FILTER (WHERE again), 0) AS cost_usd
FROM (
  SELECT used.cost_usd + adjusted.amount_usd AS cost_usd, used.created_at - lag(used.created_at) OVER (
    PARTITION BY used.question_digest ORDER BY used.created_at
  ) <= make_interval(secs => :within_s) AS again
  {_USED} AND NOT used.cached AND used.status = 'success' AND used.question_digest IS NOT NULL
) AS asked
"""  # noqa: S608  # put together from the constant above


async def repeats(
    connection: AsyncConnection, account: str, *, since: datetime, until: datetime, within_s: int
) -> Repeats:
    """What an answer that is kept for `within_s` would have spared."""
    found = await connection.execute(
        text(_REPEATS), {"account": account, "since": since, "until": until, "within_s": within_s}
    )
    return Repeats(**_whole(found.one()))


def _whole(row: Row[Any]) -> dict[str, Any]:
    """Dollars as nano-dollars, and Postgres's sums, which are numeric, as integers."""
    named: dict[str, Any] = {}
    for name, value in row._asdict().items():
        if name.endswith("_usd"):
            named[f"{name.removesuffix('_usd')}_nanousd"] = int(value.scaleb(9))
        else:
            named[name] = int(value) if isinstance(value, Decimal) else value
    return named
