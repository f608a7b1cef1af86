"""What each tier may ask for, and who may have something else."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest

from app.limits.tiers import load_tiers
from events.completions import Tier
from handlers.rules.admission import TIERS, Limits, limits_for


def test_every_tier_has_limits_and_a_higher_one_has_more() -> None:
    assert set(TIERS) == set(get_args(Tier))
    for lower, higher in (("free", "pro"), ("pro", "team"), ("team", "enterprise")):
        less, more = asdict(TIERS[lower]), asdict(TIERS[higher])  # type: ignore[index]  # the names of tiers
        assert all(more[name] is None or most < more[name] for name, most in less.items())


def rates(limits: Limits) -> tuple[int | None, int | None, int | None]:
    return limits.requests_a_minute, limits.requests_a_day, limits.concurrent


@pytest.mark.parametrize(
    ("tier", "override", "connections", "limits"),
    [
        ("free", None, None, (10, 100, 10)),
        ("pro", None, None, (1000, 10_000, 100)),
        ("enterprise", None, None, (None, None, None)),
        ("free", 60, None, (60, None, 10)),
        ("enterprise", 60, None, (60, None, None)),
        ("enterprise", None, 5, (None, None, 5)),
        ("free", 0, None, (1, None, 10)),
        ("free", -5, None, (1, None, 10)),
    ],
)
def test_a_keys_own_rate_and_the_operators_connections_come_before_the_tiers(
    tier: Tier, override: int | None, connections: int | None, limits: tuple[int | None, int | None, int | None]
) -> None:
    assert rates(limits_for(TIERS[tier], (), override, connections)) == limits


def test_an_accounts_own_limits_come_before_its_tiers_and_the_operators() -> None:
    own = (("concurrent", 7), ("requests_a_day", None), ("requests_a_minute", 25))
    assert rates(limits_for(TIERS["free"], own, None, 5)) == (25, None, 7)


def test_a_file_of_the_operators_says_what_a_tier_may(tmp_path: Path) -> None:
    file = tmp_path / "tiers.toml"
    file.write_text('[team]\nrequests_a_minute = 5000\nrequests_a_day = "none"\n')
    tiers = load_tiers(file)
    assert rates(tiers["team"]) == (5000, None, 300)
    assert tiers["free"] == TIERS["free"]


@pytest.mark.parametrize(
    "text", ["[gold]\n", "team = 3\n", "[team]\nspeed = 3\n", "[team]\nprompts = 0\n", "[team]\nprompts = true\n", "="]
)
def test_a_file_that_makes_no_sense_stops_the_process_with_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tiers.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        load_tiers(file)
