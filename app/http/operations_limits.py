"""The rows of `/v1/limits` and `/v1/budgets` in the table of operations."""

from __future__ import annotations

from typing import Final

from app.http.budget_shapes import BudgetList, BudgetPut, BudgetRemovedView, BudgetView, LimitsView
from app.http.operation import Answer, Operation, Parameter, refusals

_PLACE: Final = (
    Parameter("subject", "path", "`account`, `key:<id>`, or in a team `member:<id>`."),
    Parameter(
        "period", "path", "From midnight to midnight UTC, or from the first of the month.", choices=("day", "month")
    ),
    Parameter(
        "kind", "path", "`hard`: what could pass it is refused. `soft`: it is only told.", choices=("hard", "soft")
    ),
)

LIMITS: Final = (
    Operation(
        "GET",
        "/v1/limits",
        "Limits",
        "Show limits",
        "What this key may ask for, in a minute, in a day, at once, and how much of it is used.",
        {200: Answer("The limits.", LimitsView)} | refusals(401, 403, 503),
        action="limits.read",
    ),
    Operation(
        "GET",
        "/v1/budgets",
        "Limits",
        "List budgets",
        "What may be spent, what is spent, and what the requests in flight have reserved.",
        {200: Answer("The budgets.", BudgetList)} | refusals(401, 403, 503),
        action="limits.read",
    ),
    Operation(
        "PUT",
        "/v1/budgets/{subject}/{period}/{kind}",
        "Limits",
        "Set a budget",
        "Make it, or change its limit. It counts what was spent before, too, in the period that is running. A request "
        "reserves what it may cost at most, and is charged what it did cost when it ends. A key that has a budget of its own "
        "may not set any; keys that it makes share its purse.",
        {200: Answer("The budget.", BudgetView)} | refusals(400, 401, 403, 404, 503),
        _PLACE,
        BudgetPut,
        '{"limit_usd": "25.00", "alert_percent": [50, 80, 100]}',
        action="limits.write",
    ),
    Operation(
        "DELETE",
        "/v1/budgets/{subject}/{period}/{kind}",
        "Limits",
        "Remove a budget",
        "From now on it holds nobody.",
        {200: Answer("Whether there was one.", BudgetRemovedView)} | refusals(401, 403, 404, 503),
        _PLACE,
        action="limits.write",
    ),
)
