"""Periods and percentages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from handlers.rules.budgets import Budget, Period, Spent, begin_of, end_of, reached, subjects_of, tightest

NOW = datetime(2026, 2, 28, 23, 30, tzinfo=UTC)


def budget(limit: int = 1000, period: Period = "day", *, hard: bool = True, subject: str = "account") -> Budget:
    return Budget("1", subject, period, limit, hard, (50, 80, 100), NOW)


def test_a_day_and_a_month_end_at_midnight_utc_wherever_one_asks_from() -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert begin_of("day", tokyo, NOW) == datetime(2026, 2, 28, tzinfo=UTC)
    assert end_of("day", tokyo) == end_of("month", tokyo) == datetime(2026, 3, 1, tzinfo=UTC)
    assert end_of("month", datetime(2026, 12, 31, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert end_of("ever", NOW) is None


@pytest.mark.parametrize(("spent", "parts"), [(0, []), (499, []), (500, [50]), (999, [50, 80]), (2000, [50, 80, 100])])
def test_a_part_is_reached_when_it_is_spent_and_not_before(spent: int, parts: list[int]) -> None:
    assert list(reached(budget(), Spent(spent, 0, 0, held=10_000))) == parts


def test_a_budget_of_nothing_is_reached_at_once() -> None:
    assert list(reached(budget(0), Spent(0, 0, 0, 0))) == [50, 80, 100]


def test_of_several_hard_ones_the_smallest_holds_and_soft_ones_hold_nobody() -> None:
    several = [budget(5), budget(3), budget(1, hard=False), budget(2, "month"), budget(1, subject="key:1")]
    assert tightest(several, "account", "day") == 3
    assert tightest(several, "account", "ever") is None


def test_a_request_is_charged_to_the_account_the_key_and_in_a_team_the_member() -> None:
    assert subjects_of("1", None) == ("account", "key:1")
    assert subjects_of("1", "2") == ("account", "key:1", "member:2")
