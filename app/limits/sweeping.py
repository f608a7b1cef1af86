"""What keeps the counts of money true: alerts, reservations nobody will settle, purses against the books. Runs in every
projector.

One rule: everything here may be done twice, by two processes, at once: it is told once, released once, and set right by what
is wrong then.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from app.database import Pool, Unavailable, borrowed
from app.limits.alerts import tell_reached
from app.limits.reckoning import NotReckoned, Reckoner
from app.log import Log, LogGone, purses
from app.log.connection import LogRefused
from app.mail import Mails

log = structlog.get_logger()

WATCH_S: Final = 3.0
"""How soon an alert is told."""

SWEEP_S: Final = 60.0
"""How often reservations are looked at."""

RECKON_S: Final = 900.0
"""How often every purse is compared with the books. What has been lost of the log's last seconds is wrong for so long."""

FRESH_S: Final = 60.0
"""A hold that is younger is left alone."""

PAGE: Final = 500

OUTAGES: Final = (Unavailable, LogGone, LogRefused, NotReckoned, OSError, asyncpg.PostgresError)


@dataclass(frozen=True, slots=True)
class Sweeper:
    log: Log
    pool: Pool
    mails: Mails | None

    async def keep(self) -> None:
        """Until cancelled."""
        swept = reckoned = float("-inf")
        while True:
            try:
                await self.watch()
                now = time.monotonic()
                if now - swept >= SWEEP_S:
                    await self.sweep()
                    swept = now
                if now - reckoned >= RECKON_S:
                    await self.reckon_all()
                    reckoned = now
            except OUTAGES as outage:
                log.warning("budgets_not_swept", error=type(outage).__name__)
            await asyncio.sleep(WATCH_S)

    async def watch(self) -> None:
        """Tell what is reached of the budgets that something was paid from."""
        for partition in range(self.log.partitions):
            while touched := await purses.take_touched(self.log, partition):
                for account, subject in touched:
                    try:
                        await tell_reached(self.log, self.pool, self.mails, account, subject)
                    except OUTAGES:
                        await purses.touch(self.log, account, subject)
                        raise

    async def sweep(self, fresh_s: float = FRESH_S) -> int:
        """Release what is reserved by requests that are off the log, and set their purses right → how many there were."""
        released = 0
        for partition in range(self.log.partitions):
            wrong: set[tuple[str, str]] = set()
            for hold in await purses.holds(self.log, partition):
                old = time.time() - int(hold.entry.partition("-")[0]) / 1000 >= fresh_s
                if old and await purses.release(self.log, hold):
                    log.warning("reservation_released", request_id=hold.request, account=hold.account)
                    wrong.update(hold.purses)
                    released += 1
            for account, subject in wrong:
                await Reckoner(self.log, self.pool).reckon(account, subject)
        return released

    async def reckon_all(self) -> None:
        """Set every purse right that a budget is for, and tell what is reached."""
        after = UUID(int=0), ""
        while True:
            async with borrowed(self.pool) as connection:
                rows = await connection.fetch(
                    """SELECT DISTINCT account_id, subject FROM budgets WHERE (account_id, subject) > ($1, $2)
                    ORDER BY account_id, subject LIMIT $3""",
                    *after,
                    PAGE,
                )
            for row in rows:
                account, subject = str(row["account_id"]), row["subject"]
                await Reckoner(self.log, self.pool).reckon(account, subject)
                await tell_reached(self.log, self.pool, self.mails, account, subject)
            if len(rows) < PAGE:
                return
            after = rows[-1]["account_id"], rows[-1]["subject"]
