"""Rate past requests anew and say on the log what each of them costs from now on. Nothing that stands is rewritten.

One rule: an adjustment names the entry that it follows, and of two that follow one the first counts. So a run that is
repeated, or that died in the middle, adds nothing twice: it goes on with what is not adjusted yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid5

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.log import Log
from app.price_book import Prices
from events.billing import UsageAdjusted
from events.message import Envelope
from handlers.rules.catalogue import Price
from handlers.rules.rating import Usage, price_version, rate
from projections import checkpoints
from projections.adjustments import USAGE_ADJUSTMENTS, Standing, standing
from projections.projection import BEGINNING, order
from projections.usage import USAGE

log = structlog.get_logger()

CAUGHT_UP_S: Final = 30.0
"""How long a run waits for the projector to have read what is on the log; then it does not begin."""
LOOK_S: Final = 0.2

_LOCK: Final = 0x68656C69_72657261  # "helirera"
_IDS: Final = UUID("5d3c2bb0-6f0e-5a53-9a39-0f3f4c2f9c51")
"""The name space of the ids of adjustments: the same adjustment has the same id, whoever makes it."""


class CannotRerate(Exception):
    """Another run is at it, or what has been used is not known up to now; the message says which."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which requests: those that ended from `since` on and before `until`."""

    since: datetime
    until: datetime
    provider: str | None = None
    model: str | None = None


@dataclass(slots=True)
class Sum:
    """What the requests of one model cost, before and after."""

    provider: str
    model: str
    requests: int = 0
    adjusted: int = 0
    before_nanousd: int = 0
    after_nanousd: int = 0


@dataclass(slots=True)
class Result:
    sums: dict[tuple[str, str], Sum] = field(default_factory=dict)
    unpriced: dict[tuple[str, str], int] = field(default_factory=dict)
    """Models that no price is known of → how many requests stay as they are."""


async def rerate(
    stream: Log,
    database: AsyncEngine,
    prices: Prices,
    of: Stretch,
    keep: Callable[[Prices], Awaitable[object]] | None,
) -> Result:
    """Adjust every request of the stretch that costs something else by these prices. Raises CannotRerate.

    `keep` writes down the prices that adjustments are about to name; without it nothing is adjusted, only reckoned.
    `database` must not pool its connections.
    """
    async with database.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        if not (await connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK})).scalar_one():
            raise CannotRerate("another run is at it")
        await _catch_up(stream, connection)
        result, kept = Result(), set[tuple[str, str]]()
        pages = standing(connection, since=of.since, until=of.until, provider=of.provider, model=of.model)
        async for page in pages:
            facts = [fact for one in page if (fact := _judged(one, prices, result))]
            if keep is None:
                continue
            if new := {place for place, total in result.sums.items() if total.adjusted} - kept:
                await keep({place: prices[place] for place in new})
                kept |= new
            await asyncio.gather(*(stream.publish(fact) for fact in facts))
    adjusted = sum(one.adjusted for one in result.sums.values())
    log.info("usage_rerated", models=len(result.sums), adjusted=adjusted, dry_run=keep is None)
    return result


def _judged(one: Standing, prices: Prices, result: Result) -> Envelope | None:
    """Add one request to the sums → its adjustment, where it costs something else."""
    place = one.provider, one.model
    price = prices.get(place)
    if price is None:
        result.unpriced[place] = result.unpriced.get(place, 0) + 1
        return None
    cost = rate(used(one), price)
    total = result.sums.setdefault(place, Sum(*place))
    total.requests += 1
    total.before_nanousd += one.cost_nanousd
    total.after_nanousd += cost
    if cost == one.cost_nanousd:
        return None
    total.adjusted += 1
    return _adjustment(one, price, cost)


def used(one: Standing) -> Usage:
    return Usage(
        one.input_tokens,
        one.output_tokens,
        cached=one.cached_input_tokens,
        cache_write=one.cache_write_tokens,
        metered=one.metered,
    )


def _adjustment(one: Standing, price: Price, cost: int) -> Envelope:
    version = price_version(one.provider, one.model, price)
    body = UsageAdjusted(
        usage_event=one.usage_event,
        used_at=one.used_at,
        follows=one.last_entry,
        api_key_id=one.api_key_id,
        provider=one.provider,
        model=one.model,
        cost_before_nanousd=one.cost_nanousd,
        cost_nanousd=cost,
        price_version=version,
        price_as_of=price.as_of,
    )
    id = str(uuid5(_IDS, f"{one.last_entry} {version}"))
    return Envelope.begin(body, id=id, at=datetime.now(UTC), account=one.account, subject=one.request)


async def _catch_up(stream: Log, connection: AsyncConnection) -> None:
    """Wait until the projector has read what is on the log now: what a former run has adjusted must be known."""
    ends = {partition: await stream.last_event_id(partition) for partition in range(stream.partitions)}
    for name in (USAGE.name, USAGE_ADJUSTMENTS.name):
        try:
            async with asyncio.timeout(CAUGHT_UP_S):
                while not await _has_read(connection, name, ends):  # noqa: ASYNC110  # rows of Postgres wake nobody
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise CannotRerate(f"the projection {name} is behind the log: is a projector running?") from None


async def _has_read(connection: AsyncConnection, name: str, ends: dict[int, str]) -> bool:
    stands = await checkpoints.of(connection, "public", name, len(ends), locked=False)
    return all(order(stands.get(partition, BEGINNING)) >= order(end) for partition, end in ends.items())
