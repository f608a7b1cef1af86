"""A budget of which a part is spent is told: a fact on the log, and a mail to whoever pays.

One rule: once for each budget, period, percentage and limit. A row says that it was told, and is written in the transaction
that tells it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import structlog

from app.database import Connection, Pool, borrowed
from app.ids import new_id
from app.limits.budgets import SELECT_BUDGETS, budget_of
from app.log import Log, purses
from app.log.values import Counted
from app.mail import Mail, Mails
from app.outbox import enqueue
from events.limits import BudgetReached
from events.message import Envelope
from handlers.rules.budgets import NANO, Budget, Spent, reached

log = structlog.get_logger()

_PAYERS = """SELECT email FROM users WHERE id = $1 AND status = 'active'
UNION SELECT u.email FROM organization_members m JOIN users u ON u.id = m.user_id
WHERE m.organization_id = $1 AND m.role IN ('owner', 'admin', 'billing') AND u.status = 'active'"""


async def tell_reached(log_: Log, pool: Pool, mails: Mails | None, account: str, subject: str) -> int:
    """Tell what is reached of a subject's budgets and has not been told → how much that was.

    A purse that is not known is passed by: it is looked at when it is reckoned. Raises Unavailable, LogGone, LogRefused.
    """
    seen = await purses.count(log_, account, subject)
    if not seen.known:
        return 0
    spent, told = Spent(seen.in_day, seen.in_month, seen.ever, seen.held), 0
    async with borrowed(pool) as connection:
        rows = await connection.fetch(
            f"{SELECT_BUDGETS} WHERE account_id = $1 AND subject = $2", UUID(account), subject
        )
        for budget in map(budget_of, rows):
            for percent in reached(budget, spent):
                told += await _tell(connection, mails, account, budget, percent, spent, _begin(budget, seen))
    return told


def _begin(budget: Budget, seen: Counted) -> datetime:
    """When the period began that was counted: by the log server's clock, not by ours."""
    match budget.period:
        case "day":
            return seen.day_begin
        case "month":
            return seen.month_begin
        case "ever":
            return budget.counts_from


async def _tell(
    connection: Connection,
    mails: Mails | None,
    account: str,
    budget: Budget,
    percent: int,
    spent: Spent,
    begin: datetime,
) -> bool:
    async with connection.transaction():
        new = await connection.fetchval(
            """INSERT INTO budget_alerts (budget_id, period_begin, percent, limit_usd)
            SELECT id, $2, $3, $4 FROM budgets WHERE id = $1 ON CONFLICT DO NOTHING RETURNING percent""",
            UUID(budget.id),
            begin,
            percent,
            Decimal(budget.limit_nanousd) / NANO,
        )
        if new is None:
            return False
        fact = BudgetReached(
            budget=budget.id,
            on=budget.subject,
            period=budget.period,
            hard=budget.hard,
            period_begin=begin,
            percent=percent,
            limit_nanousd=budget.limit_nanousd,
            spent_nanousd=spent.in_period(budget.period),
        )
        at = datetime.now(UTC)
        await enqueue(connection, Envelope.begin(fact, id=new_id(), at=at, account=account, subject=budget.id))
        if mails is not None:
            for row in await connection.fetch(_PAYERS, UUID(account)):
                await mails.put(connection, _mail(row["email"], budget, percent, spent))
    log.info("budget_reached", account=account, subject=budget.subject, period=budget.period, percent=percent)
    return True


def _mail(to: str, budget: Budget, percent: int, spent: Spent) -> Mail:
    period = {"day": "daily budget", "month": "monthly budget", "ever": "balance"}[budget.period]
    limit, gone = (Decimal(each) / NANO for each in (budget.limit_nanousd, spent.in_period(budget.period)))
    then = "What would pass it is refused." if budget.hard else "Nothing is refused because of it."
    text = (
        f"${gone:.2f} of the {period} of ${limit:.2f} for {budget.subject} is spent: {percent} % or more.\n\n{then}\n"
    )
    return Mail(to, f"{percent} % of a {period} is spent", text)
