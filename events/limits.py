"""Facts about what an account may ask for and spend. Amounts and names of limits only."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from events.message import Change, Event, NanoUsd

Period = Literal["day", "month", "ever"]


class BudgetSet(Change):
    """From now on so much may be spent on a subject in each period."""

    type: ClassVar[str] = "budget.set"

    budget: str
    on: str
    """`account`, `key:<id>`, `member:<id>`."""
    period: Period
    hard: bool
    limit_nanousd: NanoUsd
    alerts: tuple[int, ...]
    """Percent of it at which it is told."""


class BudgetRemoved(Change):
    type: ClassVar[str] = "budget.removed"

    budget: str
    on: str
    period: Period
    hard: bool


class BudgetReached(Event):
    """A part of a budget is spent: told once in each period for each percentage."""

    type: ClassVar[str] = "budget.reached"

    budget: str
    on: str
    period: Period
    hard: bool
    period_begin: AwareDatetime
    percent: int
    limit_nanousd: NanoUsd
    spent_nanousd: NanoUsd


class BalanceCredited(Change):
    """An account has been given money to spend; with the first of it, it may spend no more than its balance."""

    type: ClassVar[str] = "balance.credited"

    budget: str
    amount_nanousd: NanoUsd
    total_nanousd: NanoUsd
    """All that it has been given."""


class LimitsSet(Change):
    """The account has limits of its own instead of its tier's; these, and no others."""

    type: ClassVar[str] = "limits.set"

    limits: tuple[tuple[str, int | None], ...]
    """(name, at most; None: no limit)."""
