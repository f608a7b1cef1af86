"""The price list in Postgres: a row for each price there ever was, under the name that events and usage rows call it.

One rule: a row is never changed and never taken out; what is found again is only marked as seen. A price's name is made of
its content, so any number of processes may write the list at once, and a worker names a price without asking.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeAlias

import asyncpg
import structlog

from app.database import Connection, Pool, Unavailable, borrowed
from handlers.rules.catalogue import Catalogue, Price, Rates, SearchFee, Step
from handlers.rules.rating import content, content_digest, price_version

log = structlog.get_logger()

Prices: TypeAlias = Mapping[tuple[str, str], Price]
"""(provider, model) → its price."""

AGAIN_S: Final = 5.0
"""Pause before the list is written after an outage of Postgres; nobody waits for it."""

_INSERT: Final = """
INSERT INTO prices (
  version, provider, model, as_of, source, input_usd_per_million, output_usd_per_million, cached_input_usd_per_million,
  cache_write_usd_per_million, content, digest, seen_at
)
SELECT *, CASE WHEN $12 THEN now() END FROM unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::numeric[], $8::numeric[],
  $9::numeric[], $10::jsonb[], $11::text[]
) AS row (version) ORDER BY version
ON CONFLICT (version) DO UPDATE SET seen_at = CASE WHEN $12 THEN now() ELSE prices.seen_at END
RETURNING xmax = 0 AS is_new
"""
"""In the order of their names: two processes that write at once wait for each other, and never in a circle."""

_NEWEST: Final = """
SELECT DISTINCT ON (provider, model) * FROM prices
WHERE seen_at IS NOT NULL AND ($1::text IS NULL OR provider = $1) AND ($2::text IS NULL OR model = $2)
ORDER BY provider, model, seen_at DESC, valid_from DESC
"""

_ALL: Final = """
SELECT * FROM prices
WHERE ($1::text IS NULL OR provider = $1) AND ($2::text IS NULL OR model = $2)
ORDER BY provider, model, valid_from
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the list. `content` is everything that is charged, as JSON, in nano-dollars."""

    version: str
    provider: str
    model: str
    as_of: str
    source: str
    valid_from: datetime
    """When it was first seen here."""
    seen_at: datetime | None
    """When it was last found to hold; None: requests have only been rated anew with it."""
    input_usd_per_million: Decimal
    output_usd_per_million: Decimal
    cached_input_usd_per_million: Decimal
    cache_write_usd_per_million: Decimal
    content: str
    digest: str


def prices_in(catalogue: Catalogue) -> Prices:
    """What the offers of an installation cost."""
    return {(offer.provider, offer.model): offer.price for offer in catalogue if offer.price is not None}


async def keep(connection: Connection, prices: Prices, *, hold: bool = True) -> int:
    """Write down those that are not there yet → how many those were. `hold`: they are what requests cost today."""
    rows = [_row(provider, model, price) for (provider, model), price in prices.items()]
    if not rows:
        return 0
    written = await connection.fetch(_INSERT, *zip(*rows, strict=True), hold)
    new = sum(1 for row in written if row["is_new"])
    if new:
        log.info("prices_kept", new=new, known=len(rows))
    return new


async def keep_patiently(pool: Pool, prices: Prices) -> None:
    """The same for a process that has started: once Postgres is there."""
    while True:
        try:
            async with borrowed(pool) as connection:
                await keep(connection, prices)
                return
        except Unavailable as outage:
            log.warning("prices_not_kept", error=str(outage), again_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)


async def entries(
    connection: Connection, *, provider: str | None = None, model: str | None = None, former: bool = False
) -> list[Entry]:
    """The newest of each model; with `former` all, oldest first."""
    return _read(await connection.fetch(_ALL if former else _NEWEST, provider, model))


async def entry(connection: Connection, version: str) -> Entry | None:
    found = _read(await connection.fetch("SELECT * FROM prices WHERE version = $1", version))
    return found[0] if found else None


async def newest_prices(connection: Connection) -> dict[tuple[str, str], Price]:
    """What each model cost when it was last seen, by any process of this installation."""
    return {(one.provider, one.model): price_of(one) for one in await entries(connection)}


def price_of(one: Entry) -> Price:
    """The price that a row was made of."""
    said = json.loads(one.content)
    steps = [Step(step["service"], step["above"], Rates(**step["rates"])) for step in said.pop("steps", ())]
    search = said.pop("search", None)
    return Price(
        **{name: value for name, value in said.items() if name != "marks"},
        as_of=one.as_of,
        source=one.source,
        steps=tuple(steps),
        search=SearchFee(**search) if search else None,
        marks=tuple((mark, thousandths) for mark, thousandths in said.get("marks", ())),
    )


def _read(rows: Iterable[asyncpg.Record]) -> list[Entry]:
    return [Entry(**dict(row.items())) for row in rows]  # the columns are the fields


def _row(provider: str, model: str, price: Price) -> tuple[object, ...]:
    return (
        price_version(provider, model, price),
        provider,
        model,
        price.as_of,
        price.source,
        *(_usd(rate) for rate in (price.input, price.output, price.cached_input, price.cache_write)),
        content(price),
        content_digest(provider, model, price),
    )


def _usd(nanousd: int) -> Decimal:
    return Decimal(nanousd).scaleb(-9)
