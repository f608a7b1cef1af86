"""What is spent on a subject, reckoned from the books: usage in Postgres, and what has ended since on the log.

One rule: the books are read up to one entry of the log and the purse at another behind it; what ended between the two is
added from the log. The difference is applied, so that whatever is paid while we reckon is not lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import structlog

from app.database import Connection, Pool, borrowed
from app.log import Log, purses
from app.log.values import Counted
from events.catalog import Unreadable, read
from events.completions import CompletionEnded
from handlers.rules.budgets import ACCOUNT, NANO, Spent
from projections.projection import order
from projections.usage import USAGE

log = structlog.get_logger()

AGAIN_MAX: Final = 5
"""Times it is tried anew because somebody else was quicker, or midnight came between."""

PAGE: Final = 1000

_BOOKS: Final = """
SELECT coalesce(
    (SELECT entry_id FROM checkpoints WHERE projection = $1 AND partition = $2), '0-0'
  ) AS upto,
  coalesce(sum(amount) FILTER (WHERE at >= $5::timestamptz), 0) AS day,
  coalesce(sum(amount) FILTER (WHERE at >= $6::timestamptz), 0) AS month,
  coalesce(sum(amount) FILTER (WHERE at >= $7::timestamptz), 0) AS ever
FROM (
  SELECT cost_usd AS amount, created_at AS at, api_key_id FROM usage
  WHERE user_id = $3 AND created_at >= LEAST($6::timestamptz, $7::timestamptz)
  UNION ALL
  SELECT amount_usd, used_at, api_key_id FROM usage_adjustments
  WHERE user_id = $3 AND used_at >= LEAST($6::timestamptz, $7::timestamptz)
) AS entries
WHERE $4::uuid[] IS NULL OR api_key_id = ANY($4)
"""
"""One statement, so that checkpoint and sums are of one moment."""


class NotReckoned(Exception):
    """Somebody else was always quicker; it may be tried again."""


@dataclass(frozen=True, slots=True)
class _Books:
    upto: str
    day: int
    month: int
    ever: int


@dataclass(frozen=True, slots=True)
class _Since:
    """When each period began."""

    day: datetime
    month: datetime
    ever: datetime


class Reckoner:
    """Sets purses right. Any number of processes may do so at once."""

    def __init__(self, log_: Log, pool: Pool) -> None:
        self._log = log_
        self._pool = pool

    async def reckon(self, account: str, subject: str) -> Spent:
        """Set what is spent on a subject right, and know it from then on → what it is.

        Raises Unavailable (Postgres), LogGone, LogRefused, NotReckoned.
        """
        for _ in range(AGAIN_MAX):
            before = await purses.count(self._log, account, subject)
            async with borrowed(self._pool) as connection:
                keys = await _keys_of(connection, subject)
                since = await _since(connection, account, subject, before)
                books = await self._books(connection, account, keys, since)
            seen = await purses.count(self._log, account, subject)
            if (seen.day, seen.month) != (before.day, before.month):
                continue
            day, month, ever = await self._ended_since(account, keys, since, books, seen.newest)
            wrong = day - seen.in_day, month - seen.in_month, ever - seen.ever
            if seen.known and not any(wrong):
                return Spent(day, month, ever, seen.held)
            if await purses.correct(self._log, account, subject, seen, *wrong):
                if seen.known:
                    log.warning("budget_set_right", account=account, subject=subject, nanousd=wrong[1])
                else:
                    log.info("budget_reckoned", account=account, subject=subject, spent_this_month_nanousd=month)
                return Spent(day, month, ever, seen.held)
        raise NotReckoned(subject)

    async def spent(self, account: str, subject: str) -> Spent:
        """What is spent on a subject, as the log server counts it; reckoned first where it does not know. Raises as
        `reckon`."""
        seen = await purses.count(self._log, account, subject)
        if not seen.known:
            return await self.reckon(account, subject)
        return Spent(seen.in_day, seen.in_month, seen.ever, seen.held)

    async def _books(self, connection: Connection, account: str, keys: Sequence[UUID] | None, since: _Since) -> _Books:
        row = await connection.fetchrow(
            _BOOKS,
            USAGE.name,
            self._log.partition_of(account),
            UUID(account),
            keys,
            since.day,
            since.month,
            since.ever,
        )
        assert row is not None  # it sums
        return _Books(row["upto"], _nano(row["day"]), _nano(row["month"]), _nano(row["ever"]))

    async def _ended_since(
        self, account: str, keys: Sequence[UUID] | None, since: _Since, books: _Books, upto: str
    ) -> tuple[int, int, int]:
        """The books' sums with what has ended behind them, up to an entry of the log."""
        day, month, ever, after = books.day, books.month, books.ever, books.upto
        mine = None if keys is None else {str(key) for key in keys}
        while order(after) < order(upto):
            entries = await self._log.read_events(self._log.partition_of(account), after, count=PAGE)
            if not entries:
                break
            after = entries[-1][0]
            for entry, raw in entries:
                if order(entry) > order(upto) or account.encode() not in raw:
                    continue
                try:
                    said = read(raw)
                except Unreadable:
                    continue  # the projection has not counted it either
                body = said.body
                if said.account != account or not isinstance(body, CompletionEnded) or not body.billable:
                    continue
                if mine is not None and body.api_key_id not in mine:
                    continue
                day += body.cost_nanousd if said.at >= since.day else 0
                month += body.cost_nanousd if said.at >= since.month else 0
                ever += body.cost_nanousd if said.at >= since.ever else 0
        return day, month, ever


async def _keys_of(connection: Connection, subject: str) -> Sequence[UUID] | None:
    """The keys whose usage is the subject's; None: all of the account's."""
    if subject == ACCOUNT:
        return None
    kind, _, id = subject.partition(":")
    if kind == "member":  # what he asks without a key is written down under himself
        rows = await connection.fetch("SELECT id FROM api_keys WHERE user_id = $1", UUID(id))
    else:
        rows = await connection.fetch("SELECT id FROM api_keys WHERE counted_as = $1", UUID(id))
    return [UUID(id), *(row["id"] for row in rows)]


async def _since(connection: Connection, account: str, subject: str, counted: Counted) -> _Since:
    ever = await connection.fetchval(
        "SELECT min(counts_from) FROM budgets WHERE account_id = $1 AND subject = $2 AND period = 'ever'",
        UUID(account),
        subject,
    )
    return _Since(counted.day_begin, counted.month_begin, ever or counted.month_begin)


def _nano(usd: Decimal) -> int:
    return int(usd * NANO)
