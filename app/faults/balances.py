"""Money for those who ask in a campaign, and what is left of it: so that what is reserved and charged is broken too."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import asyncpg

from app.faults.evidence import PurseLeft
from app.identity import OPERATOR
from app.limits.budgets import credit
from app.log import Log, keys, purses
from app.up.directory import Facts
from handlers.rules.budgets import ACCOUNT, NANO

ENOUGH_NANOUSD: Final = 1_000_000 * NANO
"""Nobody is refused for money in a campaign; it is counted all the same."""


async def fill(facts: Facts, partitions: int) -> None:
    """A balance for each account there is."""
    log = await Log(facts["redis_url"], name="faults", partitions=partitions).open()
    database: Any = await asyncpg.connect(facts["database_url"])  # the stubs leave its record open
    try:
        forget = partial(purses.forget, log)
        for row in await database.fetch("SELECT id::text AS id FROM users"):
            await credit(database, row["id"], ENOUGH_NANOUSD, by=OPERATOR, forget=forget)
    finally:
        await database.close()
        await log.close()


async def left(log: Log, database: Any) -> tuple[PurseLeft, ...]:
    """What each balance says; those that nobody has asked on are not known, and left out."""
    found = []
    for row in await database.fetch("SELECT account_id::text AS id FROM budgets WHERE subject = $1", ACCOUNT):
        seen = await purses.count(log, row["id"], ACCOUNT)
        if seen.known:
            found.append(PurseLeft(account=row["id"], held_nanousd=seen.held, spent_nanousd=seen.ever))
    return tuple(found)


async def holds(log: Log) -> int:
    """Reservations of all partitions."""
    return sum([int(await log.command("HLEN", keys.holds(partition))) for partition in range(log.partitions)])
