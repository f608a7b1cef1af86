"""What may be spent: limits in money on one subject in one period, and when a part of them is reached.

One rule: a hard budget is never passed by what could be reserved; a soft one only tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from events.message import NanoUsd

Period = Literal["day", "month", "ever"]
"""A day and a month begin at midnight UTC. `ever` is a balance: it has no end, and is filled up by the operator."""

ACCOUNT: Final = "account"
"""The subject of a budget for all that an account spends. The others are `key:<id>` and `member:<id>`."""

NANO: Final = 10**9

LIMIT_NANOUSD_MAX: Final = 9_000_000 * NANO
"""Nine million dollars: the log server's scripts reckon in floating point, which is exact up to there."""

ALERTS: Final = (50, 80, 100)
"""Percent of a budget at which it is told, where nobody has said otherwise."""

PERCENT_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Budget:
    """So much may be spent on a subject in each period."""

    id: str
    subject: str
    period: Period
    limit_nanousd: NanoUsd
    hard: bool
    """What would pass it is refused; otherwise it is only told."""
    alerts: tuple[int, ...]
    """Percent of it, ascending."""
    counts_from: datetime
    """Of an `ever`: what was spent before is not counted."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What has been spent on a subject, and what its open requests may cost yet."""

    day: NanoUsd
    month: NanoUsd
    ever: NanoUsd
    held: NanoUsd

    def in_period(self, period: Period) -> NanoUsd:
        match period:
            case "day":
                return self.day
            case "month":
                return self.month
            case "ever":
                return self.ever


def reached(budget: Budget, spent: Spent) -> Iterator[int]:
    """The percentages of a budget that are spent by now."""
    for percent in budget.alerts:
        if spent.in_period(budget.period) * 100 >= budget.limit_nanousd * percent:
            yield percent


def begin_of(period: Period, now: datetime, counts_from: datetime) -> datetime:
    """When the period began in which `now` lies."""
    match period:
        case "day":
            return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        case "month":
            return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        case "ever":
            return counts_from


def end_of(period: Period, now: datetime) -> datetime | None:
    """When the period ends in which `now` lies; None: never."""
    match period:
        case "day":
            return begin_of("day", now, now) + timedelta(days=1)
        case "month":
            return begin_of("month", begin_of("month", now, now) + timedelta(days=32), now)
        case "ever":
            return None


def tightest(budgets: Iterable[Budget], subject: str, period: Period) -> NanoUsd | None:
    """The smallest hard limit on a subject in a period; None when there is none."""
    found = [one.limit_nanousd for one in budgets if (one.subject, one.period, one.hard) == (subject, period, True)]
    return min(found, default=None)


def subjects_of(api_key: str, person: str | None) -> Sequence[str]:
    """Everything a request is charged to. `api_key`: the key whose purse is used."""
    return (ACCOUNT, f"key:{api_key}", *((f"member:{person}",) if person else ()))
