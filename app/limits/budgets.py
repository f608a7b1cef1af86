"""The budgets of an account as rows, read and written.

One rule: a change and the fact that tells it commit in one transaction; what others remember of it is dropped after that.
A budget that is new counts from the books: its purse is forgotten before it is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import asyncpg

from app.database import Connection
from app.ids import new_id
from app.outbox import enqueue
from events.limits import BalanceCredited, BudgetRemoved, BudgetSet
from events.message import Envelope, Event
from handlers.rules.budgets import ACCOUNT, ALERTS, LIMIT_NANOUSD_MAX, NANO, Budget, Period

BUDGETS_MAX: Final = 2000
"""Of one account: four for each of as many keys as it may have. They are remembered with it."""

Forget = Callable[[str, str], Awaitable[None]]
"""(account, subject): see `app.log.purses.forget`."""

SELECT_BUDGETS: Final = """SELECT id, subject, period, limit_usd, hard, alert_percent, counts_from FROM budgets"""


class BudgetRefused(Exception):
    """What is wanted makes no sense; `field` is where, the message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NobodyThere(Exception):
    """The account has no such key or member."""

    def __init__(self) -> None:
        super().__init__("the account has no such key or member")


async def budgets_of(connection: Connection, account: str) -> list[Budget]:
    """The account's budgets, in the order of what they are for."""
    rows = await connection.fetch(
        f"{SELECT_BUDGETS} WHERE account_id = $1 ORDER BY subject, period, hard DESC", UUID(account)
    )
    return [budget_of(row) for row in rows]


async def set_budget(
    connection: Connection,
    account: str,
    subject: str,
    period: Period,
    *,
    hard: bool,
    limit_nanousd: int,
    alerts: Sequence[int] = ALERTS,
    by: str,
    forget: Forget,
) -> Budget:
    """Make it, or change the limit and the alerts of the one there is. Raises BudgetRefused, NobodyThere."""
    if not 0 <= limit_nanousd <= LIMIT_NANOUSD_MAX:
        raise BudgetRefused("limit_usd", f"A budget is from nothing to {LIMIT_NANOUSD_MAX // NANO} dollars.")
    async with connection.transaction():
        counted = await counted_subject(connection, account, subject)
        found = await _find(connection, account, counted, period, hard)
        if found is None:
            budget = await _make(connection, account, counted, period, hard, limit_nanousd, alerts)
            await forget(account, counted)
        else:
            budget = replace(found, limit_nanousd=limit_nanousd, alerts=tuple(alerts))
            await _write(connection, budget)
        fact = BudgetSet(
            budget=budget.id,
            on=counted,
            period=period,
            hard=hard,
            limit_nanousd=limit_nanousd,
            alerts=tuple(alerts),
            by=by,
        )
        await _say(connection, account, budget, fact)
    return budget


async def remove_budget(
    connection: Connection, account: str, subject: str, period: Period, *, hard: bool, by: str
) -> bool:
    """Whether there was one. Raises NobodyThere."""
    async with connection.transaction():
        counted = await counted_subject(connection, account, subject)
        budget = await _find(connection, account, counted, period, hard)
        if budget is None:
            return False
        await connection.execute("DELETE FROM budgets WHERE id = $1", UUID(budget.id))
        fact = BudgetRemoved(budget=budget.id, on=counted, period=period, hard=hard, by=by)
        await _say(connection, account, budget, fact)
    return True


async def credit(connection: Connection, account: str, nanousd: int, *, by: str, forget: Forget) -> Budget:
    """Give an account money to spend. From the first time on it spends no more than it has been given. Raises
    BudgetRefused."""
    if nanousd < 1:
        raise BudgetRefused("amount", "A credit is more than nothing.")
    async with connection.transaction():
        found = await _find(connection, account, ACCOUNT, "ever", hard=True)
        total = nanousd + (found.limit_nanousd if found else 0)
        if total > LIMIT_NANOUSD_MAX:
            raise BudgetRefused("amount", f"A balance is at most {LIMIT_NANOUSD_MAX // NANO} dollars.")
        if found is None:
            budget = await _make(connection, account, ACCOUNT, "ever", True, total, ALERTS)
            await forget(account, ACCOUNT)
        else:
            budget = replace(found, limit_nanousd=total)
            await _write(connection, budget)
        fact = BalanceCredited(budget=budget.id, amount_nanousd=nanousd, total_nanousd=total, by=by)
        await _say(connection, account, budget, fact)
    return budget


async def counted_subject(connection: Connection, account: str, subject: str) -> str:
    """The subject that is counted for it: a key may share another's purse. Raises NobodyThere, BudgetRefused."""
    if subject == ACCOUNT:
        return subject
    kind, _, named = subject.partition(":")
    try:
        id = UUID(named)
    except ValueError:
        raise NobodyThere from None
    if kind == "key":
        row = await connection.fetchrow(
            "SELECT coalesce(counted_as, id) AS counter FROM api_keys WHERE id = $1 AND account = $2", id, UUID(account)
        )
        if row is None:
            raise NobodyThere
        return f"key:{row['counter']}"
    if kind != "member":
        raise BudgetRefused("subject", "A budget is for `account`, `key:<id>` or `member:<id>`.")
    row = await connection.fetchrow(
        "SELECT user_id FROM organization_members WHERE organization_id = $1 AND user_id = $2", UUID(account), id
    )
    if row is None:
        raise NobodyThere
    return f"member:{id}"


def budget_of(row: asyncpg.Record) -> Budget:
    return Budget(
        id=str(row["id"]),
        subject=row["subject"],
        period=row["period"],
        limit_nanousd=int(row["limit_usd"] * NANO),
        hard=row["hard"],
        alerts=tuple(row["alert_percent"]),
        counts_from=row["counts_from"],
    )


async def _find(connection: Connection, account: str, subject: str, period: Period, hard: bool) -> Budget | None:
    row = await connection.fetchrow(
        f"{SELECT_BUDGETS} WHERE account_id = $1 AND subject = $2 AND period = $3 AND hard = $4 FOR UPDATE",
        UUID(account),
        subject,
        period,
        hard,
    )
    return None if row is None else budget_of(row)


async def _make(
    connection: Connection,
    account: str,
    subject: str,
    period: Period,
    hard: bool,
    limit_nanousd: int,
    alerts: Sequence[int],
) -> Budget:
    count: int = await connection.fetchval("SELECT count(*) FROM budgets WHERE account_id = $1", UUID(account))
    if count >= BUDGETS_MAX:
        raise BudgetRefused("subject", f"An account has at most {BUDGETS_MAX} budgets.")
    row = await connection.fetchrow(
        """INSERT INTO budgets (id, account_id, subject, period, hard, limit_usd, alert_percent)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (account_id, subject, period, hard) DO UPDATE
        SET limit_usd = EXCLUDED.limit_usd, alert_percent = EXCLUDED.alert_percent, updated_at = now()
        RETURNING id, subject, period, limit_usd, hard, alert_percent, counts_from""",
        UUID(new_id()),
        UUID(account),
        subject,
        period,
        hard,
        Decimal(limit_nanousd) / NANO,
        list(alerts),
    )
    assert row is not None  # inserted or updated
    return budget_of(row)


async def _write(connection: Connection, budget: Budget) -> None:
    await connection.execute(
        "UPDATE budgets SET limit_usd = $2, alert_percent = $3, updated_at = now() WHERE id = $1",
        UUID(budget.id),
        Decimal(budget.limit_nanousd) / NANO,
        list(budget.alerts),
    )


async def _say(connection: Connection, account: str, budget: Budget, fact: Event) -> None:
    at = datetime.now(UTC)
    await enqueue(connection, Envelope.begin(fact, id=new_id(), at=at, account=account, subject=budget.id))
