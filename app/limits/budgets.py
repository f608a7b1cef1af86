"""The budgets of an account as rows, read and written.

One rule: a change and the fact that tells it commit in one transaction; what others remember of it is dropped after that.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from handlers.rules.budgets import NANO, Budget

SELECT_BUDGETS: Final = """SELECT id, account_id, subject, period, limit_usd, hard, alert_percent, counts_from
FROM budgets"""


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
